"""The OpenAPI document, for people at /docs and for programs that make a client from /openapi.json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from generation_worker.web.problems import MEDIA_TYPE, ProblemDetails

ABOUT = """
Turns jobs into images. `POST /worker/jobs` puts one in line and answers at once with `status_url`, `events_url` and
`cancel_url`; the image is there when `status` is `completed`. Every error is a problem (RFC 9457) with a `code`, the
`field` and a `remedy`.

Send `Authorization: Bearer gw_live_…`. A key that is bound to one user sees that user only. While there is no key at
all, only this machine is answered.
"""
PROBLEM = f"#/components/schemas/{ProblemDetails.__name__}"


def describe(app: FastAPI) -> None:
    """Have ``app`` describe itself as it is: with problems under their own media type."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
            for operations in document["paths"].values():
                for operation in operations.values():
                    _name_problems(operation["responses"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _name_problems(responses: dict[str, Any]) -> None:
    for response in responses.values():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema", {}).get("$ref") == PROBLEM:
            content[MEDIA_TYPE] = content.pop("application/json")
