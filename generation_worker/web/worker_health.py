"""``GET /worker/health``: this process, in the words of the Worker Service. Asks the database nothing but the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from generation_worker.events import Events
from generation_worker.web.auth import needs
from generation_worker.web.caller import Caller
from generation_worker.web.document import PROBLEM
from generation_worker.web.health import Report
from generation_worker.web.problems import MEDIA_TYPE, documented

SETTLED = "attempt.settled"
PROCESSED = ("completed", "failed", "cancelled")
"""States in which a job is done with."""


class WorkerHealth(BaseModel):
    """How the process is that answers."""

    worker_id: str
    status: Literal["healthy", "unhealthy"]
    jobs_processed: int = Field(description="Jobs that it has brought to their end since it was started.")
    uptime: int = Field(description="Seconds.")
    problems: list[str] = Field(description="What is wrong, in words.")


UNHEALTHY: dict[str, Any] = {
    "model": WorkerHealth,
    "description": "The process is unhealthy, or the key cannot be looked up.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM}}},
}


class Processed:
    """Counts the jobs that this process brings to their end."""

    def __init__(self, events: Events) -> None:
        self.jobs = 0
        events.subscribe(self._hear)

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == SETTLED and fields["status"] in PROCESSED:
            self.jobs += 1  # by one thread only, the settler's


def worker_health_router(report: Report, processed: Processed) -> APIRouter:
    router = APIRouter(prefix="/worker", tags=["fleet"])

    @router.get(
        "/health",
        responses={**documented(401, 403, 429), 503: UNHEALTHY},
    )
    def worker_health(  # pyright: ignore[reportUnusedFunction]
        response: Response, _: Annotated[Caller, needs("read")]
    ) -> WorkerHealth:
        """How the process is that answers; 503 with what is wrong. `/health` tells more, and asks for no key."""
        found = report()
        response.status_code = 200 if found["status"] == "healthy" else 503
        return WorkerHealth(
            worker_id=found["id"],
            status=found["status"],
            jobs_processed=processed.jobs,
            uptime=int(found["uptime_seconds"]),
            problems=found["problems"],
        )

    return router
