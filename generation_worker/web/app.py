"""The web application of a worker process: puts routers together, documents them, and serves them from a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generation_worker import __version__
from generation_worker.db.query import Queries
from generation_worker.web.auth import Guard, GuardedRoute, check_scopes
from generation_worker.web.problems import MEDIA_TYPE, ProblemDetails, describe_problems

STOP_WITHIN = 3
TAKEN_WITHIN = 60.0
"""Seconds in which a client must accept what is sent to it; after that the system closes its connection."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Headers of every response, unless its route sets them: browsers neither cache, frame nor guess the type of it."""

ABOUT = """
Turns jobs into images. `POST /worker/jobs` puts one in line and answers at once with `status_url`, `events_url` and
`cancel_url`; the image is there when `status` is `completed`. Every error is a problem (RFC 9457) with a `code`, the
`field` and a `remedy`.

Send `Authorization: Bearer gw_live_…`. A key that is bound to one user sees that user only. While there is no key at
all, only this machine is answered.
"""
PROBLEM = f"#/components/schemas/{ProblemDetails.__name__}"

DOCS = "/docs"
DOCS_PAGE = """<!doctype html>
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
DOCS_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true});\n'
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Everything on the page comes from this server. Swagger UI needs inline styles, but no inline script."""
DOCS_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


def part(name: str) -> Any:
    """For an argument of a route: what ``create_app`` was given under this name."""

    async def find(request: Request) -> Any:  # a coroutine: no thread is needed for it
        return getattr(request.app.state, name)

    return Depends(find)


Database = Annotated[Queries, part("queries")]
"""For an argument of a route that reads or changes rows."""


def create_app(routers: Iterable[APIRouter], guard: Guard | None = None, **parts: Any) -> FastAPI:
    """The application that ``routers`` make together. A route may raise ``Problem``.

    ``guard`` authenticates callers, for routes that need a scope. ``parts`` are what routes work with, the same for
    every request: ``queries``, ``storage`` and the like. A route's argument that is declared with ``part`` gets one.

    Raises LookupError if a route neither needs a scope nor is open to all.
    """
    app = FastAPI(
        title="generation-worker",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.guard = guard
    for name, value in parts.items():
        setattr(app.state, name, value)
    app.state.stopping = list[Callable[[], None]]()  # called before a server waits for its responses to end
    app.add_middleware(SecurityHeaders)
    describe_problems(app)
    for router in routers:
        check_scopes(router.routes)
        app.include_router(router)
    _describe(app)
    _show_document(app)
    return app


class SecurityHeaders:
    """Adds HEADERS that a route has not set itself. Plain ASGI, so that a response may take hours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class BySegments(APIRoute):
    """A route whose parameters are whole segments of the path: an encoded slash belongs to its segment.

    A server passes the path on decoded, in which ``a%2Fb`` cannot be told from ``a/b``. A parameter that matches
    slashes would take the account of the user ``x/entries`` for the entries of ``x``. So the path is matched as it was
    sent.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        sent = scope.get("raw_path", b"").decode("latin-1")
        if scope["type"] != "http" or "%" not in sent:
            return super().matches(scope)
        match, found = super().matches({**scope, "path": "/".join(map(_decode_segment, sent.split("/")))})
        if match is not Match.NONE:
            found["path_params"] = {name: _restore(value) for name, value in found["path_params"].items()}
        return match, found


class SegmentRoute(BySegments, GuardedRoute):
    """A guarded route whose parameters are whole segments."""


class WebServer:
    """uvicorn on ``port`` of ``host``; an empty host means every address, IPv4 and IPv6."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._app = app
        self._socket = open_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # the connection decides who is on loopback, not a header
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        for end_responses in self._app.state.stopping:
            end_responses()
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN + 1)
        self._socket.close()


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket, whose connections do not wait for ever for a client that reads nothing or has vanished.

    Raises OSError, for example when the port is in use.
    """
    listening = _open_socket(host, port)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; accepted connections inherit it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(TAKEN_WITHIN * 1000))
    return listening


def _open_socket(host: str, port: int) -> socket.socket:
    """``::`` alone would be IPv6 only under asyncio, so we open it ourselves."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _operation_id(route: APIRoute) -> str:
    """The name of the operation in generated clients."""
    return route.name


def _describe(app: FastAPI) -> None:
    """Have ``app`` describe itself at /openapi.json, with problems under their own media type."""

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


def _show_document(app: FastAPI) -> None:
    """Have ``app`` show its OpenAPI document to people at /docs, with Swagger UI from an installed package."""
    static = Path(str(files("fastapi_offline") / "static"))

    async def page(_request: Request) -> Response:
        return HTMLResponse(DOCS_PAGE, headers={"Content-Security-Policy": DOCS_POLICY})

    async def start(_request: Request) -> Response:
        return Response(DOCS_START, media_type="text/javascript")

    async def file(request: Request) -> Response:
        name = request.url.path.removeprefix(f"{DOCS}/")
        return FileResponse(
            static / name, media_type=DOCS_FILES[name], headers={"Cache-Control": "public, max-age=3600"}
        )

    app.add_route(DOCS, page, include_in_schema=False)
    app.add_route(f"{DOCS}/start.js", start, include_in_schema=False)
    for name in DOCS_FILES:
        app.add_route(f"{DOCS}/{name}", file, include_in_schema=False)


def _decode_segment(segment: str) -> str:
    """Decoded, except for separators. Bytes that are not UTF-8 become characters that are refused later, because
    replacing them would name another user.
    """
    return unquote(segment, errors="surrogateescape").replace("%", "%25").replace("/", "%2F")


def _restore(value: Any) -> Any:
    return value.replace("%2F", "/").replace("%25", "%")
