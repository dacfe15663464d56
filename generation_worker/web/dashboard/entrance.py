"""The ways into the dashboard, and what every page of it needs."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from generation_worker.web.auth import open_to_all
from generation_worker.web.dashboard.assets import assets_router
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.sign_in import sign_in_router
from generation_worker.web.dashboard.visitor import Door

FORMER = "/admin/queues"
"""Where people look for it who come from Bull Board."""


def entrance_routers(door: Door) -> Iterator[APIRouter]:
    """The application they are part of has ``door`` as its ``state.door``."""
    yield assets_router()
    yield sign_in_router(door)
    yield _ways_here()


def _ways_here() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get(FORMER)
    @open_to_all
    def to_dashboard() -> RedirectResponse:  # pyright: ignore[reportUnusedFunction]
        return RedirectResponse(HOME, 307)

    return router
