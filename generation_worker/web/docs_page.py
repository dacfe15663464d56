"""``/docs``: the API for people. All that the page needs comes from this server, so a strict policy can hold for it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

PATH = "/docs"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>generation-worker: HTTP API</title>
<link rel="stylesheet" href="docs/swagger-ui.css"><link rel="icon" href="data:,">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true});\n'
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Swagger UI styles its elements one by one; it needs no script but its own."""
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def show_document(app: FastAPI) -> None:
    """Have ``app`` show its OpenAPI document, with Swagger UI from an installed package."""
    static = Path(str(files("fastapi_offline") / "static"))

    async def page(_request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def start(_request: Request) -> Response:
        return Response(START, media_type="text/javascript")

    async def file(request: Request) -> Response:
        name = request.url.path.removeprefix(f"{PATH}/")
        return FileResponse(static / name, media_type=FILES[name], headers={"Cache-Control": "public, max-age=3600"})

    app.add_route(PATH, page, include_in_schema=False)
    app.add_route(f"{PATH}/start.js", start, include_in_schema=False)
    for name in FILES:
        app.add_route(f"{PATH}/{name}", file, include_in_schema=False)
