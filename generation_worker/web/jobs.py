"""Jobs over HTTP. Nothing here depends on which process runs a job: all is asked of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from generation_worker.domain.estimate import Pace, seconds_left, seconds_until_done
from generation_worker.domain.job import Status
from generation_worker.domain.paging import Mark, read_cursor, write_cursor
from generation_worker.domain.refusals import JobNotFound
from generation_worker.domain.trace import heard_traceparent
from generation_worker.web.auth import GuardedRoute, needs
from generation_worker.web.caller import Caller
from generation_worker.web.fields import ForTheRecord, IdempotencyKey, Traceparent
from generation_worker.web.job_answers import (
    LINK_SECONDS,
    Accepted,
    Cancelled,
    EnqueuedJob,
    JobDetails,
    JobPage,
    details,
    summary,
)
from generation_worker.web.job_requests import EnqueueBody, JobFilters, enqueue_values
from generation_worker.web.links import JOBS, Links
from generation_worker.web.ownership import check_images
from generation_worker.web.problems import Problem, documented

Row = dict[str, Any]
ENQUEUES = (401, 402, 403, 404, 408, 409, 413, 415, 422, 429, 503)


class Placed(Protocol):
    """A job that was enqueued."""

    @property
    def id(self) -> UUID: ...
    @property
    def status(self) -> Status: ...
    @property
    def batch_id(self) -> UUID | None: ...
    @property
    def duplicate(self) -> bool: ...


class Line(Protocol):
    """What waits, and how fast it goes on. Each method may raise StoreUnavailable."""

    def queue_position(self, job_id: UUID) -> int | None: ...

    @property
    def farthest(self) -> int: ...

    def pace(self, provider: str) -> Pace: ...


class Jobs(Line, Protocol):
    """Where jobs are. ``user``: of that user only; None: of everybody. Each method may raise StoreUnavailable."""

    def enqueue(self, request: Mapping[str, Any], *, most_waiting: int) -> Sequence[Placed]: ...

    def replay(self, job_id: UUID, user: str | None, *, most_waiting: int, by: str, reason: str | None) -> Placed: ...

    def cancel(self, job_id: UUID, user: str | None, *, by: str, reason: str | None) -> Status: ...

    def find(self, job_id: UUID, user: str | None) -> Row | None: ...

    def attempts(self, job_id: UUID) -> Sequence[Row]: ...

    def entries(self, job_id: UUID) -> Sequence[Row]: ...

    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[Sequence[Row], Mark | None]: ...

    def batch(self, batch_id: UUID, user: str | None) -> Sequence[Row]: ...

    def owned(self, job_ids: Sequence[UUID], user: str) -> set[UUID]: ...


class ImageLinks(Protocol):
    def link(self, key: str, *, seconds: float) -> str | None: ...


def jobs_router(jobs: Jobs, storage: ImageLinks) -> APIRouter:
    """Enqueue, list, look, cancel, replay."""
    router = APIRouter(prefix=JOBS, tags=["jobs"], route_class=GuardedRoute)
    desk = _Desk(jobs, storage)
    add = router.add_api_route
    add("", desk.enqueue_job, methods=["POST"], status_code=202, responses=documented(400, *ENQUEUES))
    add("", desk.list_jobs, methods=["GET"], responses=documented(401, 403, 404, 422, 429, 503))
    add("/{job_id}", desk.show_job, methods=["GET"], responses=documented(401, 403, 404, 422, 429, 503))
    asked: dict[int | str, dict[str, Any]] = {
        202: {"model": Cancelled, "description": "It runs and was asked to stop."}
    }
    add(
        "/{job_id}",
        desk.cancel_job,
        methods=["DELETE"],
        responses={**asked, **documented(401, 403, 404, 409, 422, 429, 503)},
    )
    add("/{job_id}/retry", desk.retry_job, methods=["POST"], status_code=202, responses=documented(*ENQUEUES))
    return router


class _Desk:
    def __init__(self, jobs: Jobs, storage: ImageLinks) -> None:
        self._jobs = jobs
        self._storage = storage

    def enqueue_job(
        self,
        request: Request,
        response: Response,
        caller: Annotated[Caller, needs("enqueue")],
        body: EnqueueBody,
        idempotency_key: IdempotencyKey = None,
        traceparent: Traceparent = None,
    ) -> Accepted:
        """Put a job in line, or with `count` a batch. It is charged when its work starts, and only for an image."""
        user_id = caller.acting_for(body.user_id)
        if user_id is None:
            raise Problem(422, "invalid_request", "user_id: Field required", field="user_id")
        if body.priority < 0 and not caller.may("operate"):
            raise Problem(
                403,
                "missing_scope",
                "A priority below 0 goes before everybody; the key does not have the scope operate.",
                field="priority",
                remedy="Leave out the priority, or give one of 0 or above.",
            )
        check_images(body.payload.images, caller, self._jobs)
        values = enqueue_values(body, user_id, idempotency_key, heard_traceparent(traceparent))
        made = self._jobs.enqueue(values, most_waiting=caller.most_waiting)
        return self._accepted(request, response, made)

    def list_jobs(
        self, request: Request, caller: Annotated[Caller, needs("read")], filters: Annotated[JobFilters, Query()]
    ) -> JobPage:
        """The latest jobs first, a page at a time."""
        found, mark = self._jobs.page(
            caller.acting_for(filters.user_id),
            statuses=filters.status,
            kind=filters.kind,
            before=read_cursor(filters.cursor),
            limit=filters.limit,
        )
        links = Links(request)
        return JobPage(
            jobs=[summary(row, links) for row in found], next_cursor=None if mark is None else write_cursor(mark)
        )

    def show_job(self, request: Request, caller: Annotated[Caller, needs("read")], job_id: UUID) -> JobDetails:
        """One job: its place in line, its attempts, and links to its images that are made anew each time."""
        row = self._jobs.find(job_id, caller.user_id)
        if row is None:
            raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
        position, eta = place_in_line(self._jobs, row)
        return details(
            row,
            Links(request),
            lambda key: self._storage.link(key, seconds=LINK_SECONDS),
            queue_position=position,
            eta_seconds=eta,
            attempts=self._jobs.attempts(job_id),
            entries=self._jobs.entries(job_id),
        )

    def cancel_job(
        self,
        request: Request,
        response: Response,
        caller: Annotated[Caller, needs("enqueue")],
        job_id: UUID,
        reason: ForTheRecord = None,
    ) -> Cancelled:
        """Stop a job. What was charged comes back."""
        status = self._jobs.cancel(job_id, caller.user_id, by=caller.name, reason=reason)
        response.status_code = 200 if status == "cancelled" else 202
        return Cancelled(id=job_id, status=status, **Links(request).job(job_id)._asdict())

    def retry_job(
        self,
        request: Request,
        response: Response,
        caller: Annotated[Caller, needs("enqueue")],
        job_id: UUID,
        reason: ForTheRecord = None,
    ) -> Accepted:
        """Make a new job of one that failed or was cancelled, at today's price. Asked again, it is the same new job."""
        made = self._jobs.replay(
            job_id, caller.user_id, most_waiting=caller.most_waiting, by=caller.name, reason=reason
        )
        return self._accepted(request, response, [made])

    def _accepted(self, request: Request, response: Response, made: Sequence[Placed]) -> Accepted:
        first, links = made[0], Links(request)
        row = self._jobs.find(first.id, None)
        position, eta = (None, None) if row is None else place_in_line(self._jobs, row)
        response.headers["Location"] = links.job(first.id).status_url
        response.headers["Retry-After"] = str(round(min(max(eta or 2, 1), 60)))
        all_jobs = [EnqueuedJob(id=job.id, status=job.status, **links.job(job.id)._asdict()) for job in made]
        return Accepted(
            **all_jobs[0].model_dump(),
            queue_position=position,
            eta_seconds=eta,
            paused=row is not None and row["paused"],
            duplicate=first.duplicate,
            batch_id=first.batch_id,
            batch_url=links.batch(first.batch_id),
            jobs=all_jobs,
        )


def place_in_line(line: Line, row: Row) -> tuple[int | None, float | None]:
    """How many jobs go before it, and in how many seconds it will be done. May raise StoreUnavailable."""
    if row["status"] == "processing":
        return None, _rounded(seconds_left(row["held_seconds"], line.pace(row["provider"])))
    if row["status"] != "pending":
        return None, None
    position = line.queue_position(row["id"])
    if position is None or position >= line.farthest or row["paused"]:
        return position, None
    return position, _rounded(seconds_until_done(position, line.pace(row["provider"])))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
