"""The web application of a worker process."""

from __future__ import annotations

from fastapi import FastAPI

from generation_worker import __version__
from generation_worker.web.health import Report, health_router


def create_app(report: Report) -> FastAPI:
    """The application; ``report`` gives the worker's state whenever it is asked for."""
    app = FastAPI(title="generation-worker", version=__version__)
    app.include_router(health_router(report))
    return app
