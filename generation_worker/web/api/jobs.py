"""Jobs over HTTP. Nothing here depends on which process runs a job: all is asked of the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, Field

from generation_worker.db.query import Mark, read_cursor, write_cursor
from generation_worker.domain.estimate import Pace, seconds_left, seconds_until_done
from generation_worker.domain.job import FINAL, Status, heard_traceparent
from generation_worker.domain.payload import ImageConversion, ImageProcessing, ImageRef, Kind, TextToImage
from generation_worker.domain.refusals import JobNotFound
from generation_worker.web.api.job_models import (
    LINK_SECONDS,
    Accepted,
    Cancelled,
    EnqueuedJob,
    JobDetails,
    JobPage,
    JobSummary,
    details,
    summary,
)
from generation_worker.web.auth import Caller, GuardedRoute, needs
from generation_worker.web.problems import Problem, documented
from generation_worker.web.requests import (
    BATCHES,
    JOBS,
    Cursor,
    ForTheRecord,
    IdempotencyKey,
    Links,
    Moment,
    RequestModel,
    Traceparent,
    UserId,
)
from generation_worker.worker.image_keys import IMAGE_KEY, upload_folder

# What may be asked of jobs: one model for each kind, so that a generated client knows what goes into each.


PROVIDER = r"^[a-z0-9_.-]+$"
Provider = Annotated[str, Field(min_length=1, max_length=100, pattern=PROVIDER, examples=["gemini"])]


class EnqueueCommon(RequestModel):
    """What every kind of job may say. The price is the fleet's, and nobody's to name."""

    user_id: UserId | None = Field(
        default=None, description="Who gets the image and pays. A key that is bound to a user has no need to say it."
    )
    provider: Provider | None = Field(default=None, description="By default the fleet's.")
    fallback_provider: Provider | None = Field(
        default=None, description="Makes the image while every breaker of the first is open."
    )
    priority: int = Field(
        default=0,
        strict=True,
        ge=-1_000_000,
        le=1_000_000,
        description="Lower goes first. Below 0, ahead of the others, asks for the scope `operate`.",
    )
    count: int = Field(default=1, strict=True, ge=1, le=100, description="Images; above 1 they make a batch.")
    run_at: Moment | None = Field(default=None, description="Earliest start.")
    deadline_at: Moment | None = Field(default=None, description="Latest end; by default a day after `run_at`.")


class EnqueueTextToImage(EnqueueCommon):
    """An image made from a prompt, or an edit of images by a prompt."""

    kind: Literal["text_to_image"]
    payload: TextToImage


class EnqueueImageConversion(EnqueueCommon):
    """A person wearing a garment."""

    kind: Literal["image_conversion"]
    payload: ImageConversion


class EnqueueImageProcessing(EnqueueCommon):
    """An image resized, thumbnailed or converted, without a provider."""

    kind: Literal["image_processing"]
    payload: ImageProcessing


EXAMPLES: Any = {
    "text_to_image": {
        "summary": "An image from a prompt",
        "value": {
            "kind": "text_to_image",
            "user_id": "ada",
            "payload": {"prompt": "a {{animal}} in a birch forest", "inputs": {"animal": "red fox"}},
        },
    },
    "image_conversion": {
        "summary": "A person in a garment",
        "value": {
            "kind": "image_conversion",
            "user_id": "ada",
            "payload": {"user_image": {"key": "uploads/me.jpg"}, "cloth_image": {"key": "shop/coat.png"}},
        },
    },
    "image_processing": {
        "summary": "A smaller image",
        "value": {
            "kind": "image_processing",
            "user_id": "ada",
            "payload": {
                "image": {"key": "uploads/me.jpg"},
                "operations": [{"type": "resize", "width": 512}],
            },
        },
    },
}
EnqueueBody = Annotated[
    EnqueueTextToImage | EnqueueImageConversion | EnqueueImageProcessing,
    Body(discriminator="kind", openapi_examples=EXAMPLES),
]


class JobFilters(RequestModel):
    """Which jobs to list."""

    user_id: UserId | None = Field(default=None, description="Of this user only.")
    status: list[Status] | None = Field(default=None, max_length=7, description="In one of these states.")
    kind: Kind | None = None
    limit: int = Field(default=20, ge=1, le=100, description="Most jobs of one page.")
    cursor: Cursor | None = None


def enqueue_values(
    body: EnqueueCommon, user_id: str, idempotency_key: str | None, traceparent: str | None
) -> Mapping[str, Any]:
    """``body`` as it is enqueued: what was not given is left out, so that equal requests stay equal."""
    values = body.model_dump(exclude_unset=True, exclude={"payload", "run_at", "deadline_at", "user_id"})
    payload: Any = body.model_dump(mode="json", include={"payload"}, exclude_unset=True)["payload"]
    return {
        **values,
        "payload": payload,
        "user_id": user_id,
        "run_at": body.run_at,
        "deadline_at": body.deadline_at,
        "idempotency_key": idempotency_key,
        "traceparent": traceparent,
    }


# Which images a caller may name. A key of one user must not be a way to read another's.


class Owners(Protocol):
    def owned(self, job_ids: Sequence[UUID], user: str) -> set[UUID]:
        """Which of these jobs belong to ``user``. May raise StoreUnavailable."""
        ...


def check_images(images: Iterable[ImageRef], caller: Caller, owners: Owners) -> None:
    """A key that is bound to a user may name what that user has uploaded, and what their jobs have made.

    Raises Problem (404): whether there is such an image of somebody else's is not told.
    """
    if caller.user_id is None:
        return
    folder = upload_folder(caller.user_id)
    made = {image.key: _job_of(image.key) for image in images if image.key and not image.key.startswith(folder)}
    jobs = [job for job in made.values() if job is not None]
    owned = owners.owned(jobs, caller.user_id) if jobs else set[UUID]()
    for key, job in made.items():
        if job is None or job not in owned:
            raise Problem(
                404,
                "image_not_found",
                f"There is no image {key!r} that this key may use.",
                field="payload",
                remedy="Upload it (POST /worker/images), or name the result of one of the user's own jobs.",
            )


def _job_of(key: str) -> UUID | None:
    found = IMAGE_KEY.fullmatch(key)
    return UUID(found["job"]) if found else None


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


# Batches over HTTP: jobs that were asked for together, and end one by one.


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
