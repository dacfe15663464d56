"""Puts the web application together: a router for each thing that the settings want served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from fastapi import APIRouter, FastAPI

from generation_worker.config import Settings
from generation_worker.db.desk_pool import DeskConnections, open_desk_pool
from generation_worker.db.token_desk import TokenDesk
from generation_worker.events import Events
from generation_worker.web.app import create_app
from generation_worker.web.guard import Guard, KeyLimits
from generation_worker.web.health import health_router
from generation_worker.worker.supervisor import Supervisor


def build_app(stack: ExitStack, settings: Settings, supervisor: Supervisor, _events: Events) -> FastAPI:
    """What it holds is closed with ``stack``."""
    desk = open_desk(stack, settings)
    return create_app(build_routers(settings, supervisor), build_guard(settings, desk))


def build_routers(settings: Settings, supervisor: Supervisor) -> Iterator[APIRouter]:
    """The routers that the settings want, by subject."""
    if settings.enable_health_check:
        yield health_router(supervisor.report)


def build_guard(settings: Settings, desk: DeskConnections) -> Guard:
    return Guard(TokenDesk(desk), KeyLimits(settings.api_requests_per_minute, settings.api_most_waiting))


def open_desk(stack: ExitStack, settings: Settings) -> DeskConnections:
    """Connections of the API's own: however many people ask, the worker's are free for its work."""
    address = settings.require_database()
    pool = open_desk_pool(address.conninfo, prepare=not address.pooled)
    return DeskConnections(stack.enter_context(pool))
