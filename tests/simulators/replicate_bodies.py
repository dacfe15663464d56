"""JSON bodies as Replicate's API sends them."""

from __future__ import annotations

from typing import Any

MODEL = "google/nano-banana"
SENSITIVE = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
INTERRUPTED = "Prediction interrupted; please retry (code: PA)"


def prediction(
    prediction_id: str = "p0123456789abcdefghijklmno", status: str = "starting", **more: Any
) -> dict[str, Any]:
    return {
        "id": prediction_id,
        "model": MODEL,
        "version": "hidden",
        "input": {},
        "logs": "",
        "output": None,
        "error": None,
        "data_removed": False,
        "status": status,
        "created_at": "2026-11-02T12:00:00.000Z",
        "urls": {"get": f"https://api.replicate.com/v1/predictions/{prediction_id}"},
        **more,
    }


def succeeded(output: Any, **more: Any) -> dict[str, Any]:
    return prediction(status="succeeded", output=output, metrics={"predict_time": 7.5}, **more)


def failed(error: Any) -> dict[str, Any]:
    return prediction(status="failed", error=error)


def problem(status: int, title: str, detail: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "detail": detail, "status": status, **more}


def throttled(seconds: int) -> dict[str, Any]:
    return {"detail": f"Request was throttled. Your rate limit resets in ~{seconds}s."}


def account() -> dict[str, Any]:
    return {"type": "organization", "username": "pixelglow", "name": "Pixelglow", "github_url": None}


def model() -> dict[str, Any]:
    owner, _, name = MODEL.partition("/")
    return {
        "url": f"https://replicate.com/{MODEL}",
        "owner": owner,
        "name": name,
        "description": "Makes and edits images.",
        "visibility": "public",
        "run_count": 1,
        "latest_version": version("0" * 64),
    }


def version(version_id: str) -> dict[str, Any]:
    return {"id": version_id, "created_at": "2026-11-02T12:00:00.000Z", "cog_version": "0.16.8", "openapi_schema": {}}
