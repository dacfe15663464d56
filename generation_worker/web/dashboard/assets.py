"""The style sheet, the scripts and the libraries of the dashboard, from this server alone."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from generation_worker.web.auth import open_to_all
from generation_worker.web.dashboard.links import STATIC
from generation_worker.web.problems import Problem

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"
"""The address has a part of what it holds: another content has another address."""
DIRECTORY = Path(str(files("generation_worker.web.dashboard") / "static"))


def assets_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get(f"{STATIC}/{{digest}}/{{name:path}}")
    @open_to_all
    def dashboard_file(digest: str, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        if _digests().get(name) != digest:
            raise Problem(404, "not_found", "There is nothing at this address.")
        path = DIRECTORY / name
        return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": KEPT})

    return router


def asset(name: str) -> str:
    """The address of a file of ``static/``."""
    return f"{STATIC}/{_digests()[name]}/{name}"


@cache
def _digests() -> dict[str, str]:
    found = (path for path in DIRECTORY.rglob("*") if path.suffix in TYPES)
    return {
        path.relative_to(DIRECTORY).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in found
    }
