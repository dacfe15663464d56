"""The web application of a worker process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from generation_worker import __version__
from generation_worker.web.auth import check_scopes
from generation_worker.web.docs_page import show_document
from generation_worker.web.document import describe
from generation_worker.web.guard import Guard
from generation_worker.web.headers import SecurityHeaders
from generation_worker.web.problems import describe_problems


def _name_of(route: APIRoute) -> str:
    """What a generated client calls it."""
    return route.name


def create_app(routers: Iterable[APIRouter], guard: Guard | None = None) -> FastAPI:
    """The application that ``routers`` make together. A route may raise ``Problem``.

    ``guard`` lets callers in, for routes that ask for a scope. Raises LookupError if a route neither asks for one nor
    is open to all.
    """
    app = FastAPI(
        title="generation-worker",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_name_of,
    )
    app.state.guard = guard
    app.state.stopping = list[Callable[[], None]]()  # what a server calls before it waits for its answers to end
    app.add_middleware(SecurityHeaders)
    describe_problems(app)
    for router in routers:
        check_scopes(router.routes)
        app.include_router(router)
    describe(app)
    show_document(app)
    return app
