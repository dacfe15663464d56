"""Batches over HTTP: jobs that were asked for together, and end one by one."""

from __future__ import annotations

from collections import Counter
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from generation_worker.domain.job import FINAL, Status
from generation_worker.web.auth import GuardedRoute, needs
from generation_worker.web.caller import Caller
from generation_worker.web.job_answers import JobSummary, summary
from generation_worker.web.jobs import Jobs
from generation_worker.web.links import BATCHES, Links
from generation_worker.web.problems import Problem, documented


class Batch(BaseModel):
    """A batch and its jobs, in their order."""

    id: UUID
    events_url: str = Field(description="GET: what happens to its jobs, as server-sent events, until all have ended.")
    total: int
    done: bool = Field(description="Every job has ended, each in its own way.")
    counts: dict[Status, int] = Field(description="How many jobs are in each state.", examples=[{"completed": 4}])
    jobs: list[JobSummary]


def batches_router(jobs: Jobs) -> APIRouter:
    router = APIRouter(prefix=BATCHES, tags=["jobs"], route_class=GuardedRoute)

    @router.get("/{batch_id}", responses=documented(401, 403, 404, 422, 429, 503))
    def show_batch(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, needs("read")], batch_id: UUID
    ) -> Batch:
        """A batch with all its jobs."""
        found = jobs.batch(batch_id, caller.user_id)
        if not found:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        counts = Counter[Status](row["status"] for row in found)
        links = Links(request)
        return Batch(
            id=batch_id,
            events_url=links.batch_events(batch_id),
            total=len(found),
            done=set(counts) <= FINAL,
            counts=dict(counts),
            jobs=[summary(row, links) for row in found],
        )

    return router
