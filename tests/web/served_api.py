"""The whole HTTP API on loopback, as the wiring puts it together, over a database in which everything has happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from generation_worker.config import Settings, load_settings
from generation_worker.events import Events
from generation_worker.images.tools import ImageTools
from generation_worker.storage.disk import DiskStorage
from generation_worker.web.app import WebServer
from generation_worker.wiring import build_metrics
from generation_worker.wiring_web import UploadBackend, build_app
from tests.support.database import Database


class LinkedDisk(DiskStorage):
    """A disk whose objects have addresses."""

    def link(self, key: str, *, seconds: float) -> str | None:
        return f"https://images.test/{key}?seconds={seconds:g}"


class QuietSupervisor:
    """A worker that is asked how it is, and woken."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.woken = 0
        self.problems: list[str] = []
        self.live = True

    def report(self) -> dict[str, Any]:
        return {
            "status": "unhealthy" if self.problems else "healthy",
            "worker": "running",
            "problems": self.problems,
            "ready": not self.problems,
            "live": self.live,
            "id": "worker-1",
            "version": "0.1.0",
            "concurrency": 5,
            "busy": 1,
            "stuck": 0,
            "unwritten": 0,
            "listening": True,
            "paused": [],
            "disabled_endpoints": [],
            "uptime_seconds": 12.3,
        }

    def wake(self) -> None:
        self.woken += 1


class Clock:
    """The time, which can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@dataclass(frozen=True)
class Api:
    client: httpx.Client
    app: FastAPI
    supervisor: QuietSupervisor
    events: Events
    """What happens in this process; nothing does by itself."""
    storage: Path
    stop: Callable[[], None]
    """Stop the server, as at the end of a worker."""
    clock: Clock
    """By which it judges how long ago it has seen somebody."""


@contextmanager
def as_new(running: Api) -> Generator[Api]:
    """The same server for a further test, an hour later: whom it has seen before it looks up again."""
    running.supervisor.forget()
    running.clock.ahead += 3600.0
    guard = running.app.state.guard
    with client_of(running.client.base_url) as client:
        yield replace(running, client=client)
    running.app.state.guard = guard


@contextmanager
def api(database: Database, directory: Path, **overrides: str) -> Generator[Api]:
    """Only one process of the fleet, and none that works: what it answers it has from the database."""
    settings: Settings = load_settings({**database.environment, "WORKER_ENABLE_METRICS": "false", **overrides})
    supervisor, events = QuietSupervisor(), Events()
    with ExitStack() as stack:
        images = ImageTools(1)
        stack.callback(images.close)
        uploads = UploadBackend(LinkedDisk(directory), images)
        metrics = build_metrics(settings, events)
        app = build_app(stack, settings, supervisor, events, metrics, uploads=uploads)  # pyright: ignore[reportArgumentType]
        clock = Clock()
        app.state.guard._clock = app.state.sessions._clock = clock
        server = WebServer(app, host="127.0.0.1", port=0)
        stack.callback(server.stop)
        server.start()
        url = f"http://127.0.0.1:{server.port}"
        client = stack.enter_context(client_of(url))
        yield Api(client, app, supervisor, events, directory, server.stop, clock)


def client_of(url: httpx.URL | str) -> httpx.Client:
    """Over plain HTTP, so that no certificates need to be loaded."""
    return httpx.Client(base_url=url, trust_env=False, timeout=60, verify=False)
