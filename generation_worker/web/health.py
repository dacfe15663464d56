"""Health for people and platforms. No route asks the database, so that a serverless one may sleep.

The routes are coroutines: they wait for nothing, so they need no thread, and answer while all threads wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from generation_worker.web.auth import open_to_all

Report = Callable[[], dict[str, Any]]


class HealthPause(BaseModel):
    """What nobody starts: everything, a provider or a kind."""

    what: str
    since: str
    by: str | None
    reason: str | None


class DisabledEndpoint(BaseModel):
    """An endpoint of the app's that is told nothing any more until somebody enables it."""

    id: str
    since: str
    reason: str


class Health(BaseModel):
    """How the worker is. ``problems`` says what is wrong, in words."""

    status: Literal["healthy", "unhealthy"]
    worker: Literal["starting", "running", "paused", "draining"]
    problems: list[str]
    ready: bool
    live: bool
    id: str
    version: str
    concurrency: int
    busy: int
    stuck: int
    unwritten: int
    listening: bool
    paused: list[HealthPause]
    disabled_endpoints: list[DisabledEndpoint]
    uptime_seconds: float


def health_router(report: Report) -> APIRouter:
    """``GET /health``, ``/health/ready`` (may take jobs) and ``/health/live`` (restart me if not 200)."""
    router = APIRouter(tags=["health"])

    def answer(response: Response, good: Callable[[Health], bool]) -> Health:
        health = Health.model_validate(report())
        response.status_code = 200 if good(health) else 503
        return health

    @router.get("/health", responses={503: {"model": Health}})
    @open_to_all
    async def health(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """The worker's state; 503 with what is wrong."""
        return answer(response, lambda health: health.status == "healthy")

    @router.get("/health/ready", responses={503: {"model": Health}})
    @open_to_all
    async def ready(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """200 while the worker takes jobs; 503 while it starts, drains or cannot reach the database."""
        return answer(response, lambda health: health.ready)

    @router.get("/health/live", responses={503: {"model": Health}})
    @open_to_all
    async def live(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """200 unless only a restart helps; a database that is away does not count."""
        return answer(response, lambda health: health.live)

    return router
