"""Jobs and batches over HTTP. Any process of the fleet can answer: everything is read from the database."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, Field

from generation_worker.db import audit_trail, enqueue, jobs
from generation_worker.db.query import FAR, Queries, Row, read_cursor, write_cursor
from generation_worker.domain.estimate import LanePace, seconds_left, seconds_until_done
from generation_worker.domain.job import FINAL, Status, read_traceparent
from generation_worker.domain.payload import ImageConversion, ImageProcessing, ImageRef, Kind, TextToImage
from generation_worker.ports import Storage
from generation_worker.web import auth, problems, requests
from generation_worker.web.api import job_models
from generation_worker.web.app import Database, part
from generation_worker.worker.image_keys import IMAGE_KEY, upload_folder

PACE_SECONDS = 2.0
"""How long the pace of a lane is cached."""

# Requests: one model for each kind of job, so that a generated client knows the payload of each.

PROVIDER = r"^[a-z0-9_.-]+$"
Provider = Annotated[str, Field(min_length=1, max_length=100, pattern=PROVIDER, examples=["gemini"])]


class EnqueueCommon(requests.RequestModel):
    """The fields of every kind of job. The price is the fleet's; no caller can set it."""

    user_id: requests.UserId | None = Field(
        default=None, description="Who gets the image and pays. May be left out with a key that is bound to a user."
    )
    provider: Provider | None = Field(default=None, description="By default the fleet's default provider.")
    fallback_provider: Provider | None = Field(
        default=None, description="Makes the image while every breaker of the first is open."
    )
    priority: int = Field(
        default=0,
        strict=True,
        ge=-1_000_000,
        le=1_000_000,
        description="Lower goes first. A value below 0, before all usual jobs, needs the scope `operate`.",
    )
    count: int = Field(default=1, strict=True, ge=1, le=100, description="Images; above 1 they make a batch.")
    run_at: requests.Moment | None = Field(default=None, description="Earliest start.")
    deadline_at: requests.Moment | None = Field(
        default=None, description="Latest end; by default a day after `run_at`."
    )


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


class JobFilters(requests.RequestModel):
    """Which jobs to list."""

    user_id: requests.UserId | None = Field(default=None, description="Of this user only.")
    status: list[Status] | None = Field(default=None, max_length=7, description="In one of these states.")
    kind: Kind | None = None
    limit: int = Field(default=20, ge=1, le=100, description="Most jobs of one page.")
    cursor: requests.Cursor | None = None


class Batch(BaseModel):
    """A batch and its jobs, in their order."""

    id: UUID
    events_url: str = Field(description="GET: the changes of its jobs as server-sent events, until all have ended.")
    total: int
    done: bool = Field(description="Every job has ended, whether completed, failed or cancelled.")
    counts: dict[Status, int] = Field(description="How many jobs are in each state.", examples=[{"completed": 4}])
    jobs: list[job_models.JobSummary]


class LanePaces:
    """The pace of each lane, cached for PACE_SECONDS: each accepted job needs an estimate.

    Safe to use from many threads at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached: dict[str, tuple[float, LanePace]] = {}

    def of(self, queries: Queries, provider: str) -> LanePace:
        """The pace of the provider's lane. Raises StoreUnavailable."""
        now = time.monotonic()
        until, pace = self._cached.get(provider, (now, None))
        if pace is None or until <= now:
            pace = jobs.lane_pace(queries, provider)
            with self._lock:
                self._cached[provider] = (now + PACE_SECONDS, pace)
        return pace


Paces = Annotated[LanePaces, part("lane_paces")]
ImageStorage = Annotated[Storage, part("storage")]
Reader = Annotated[auth.Caller, auth.needs("read")]
Enqueuer = Annotated[auth.Caller, auth.needs("enqueue")]

router = APIRouter(tags=["jobs"], route_class=auth.GuardedRoute)
READS = problems.documented(401, 403, 404, 422, 429, 503)
ENQUEUES = (401, 402, 403, 404, 408, 409, 413, 415, 422, 429, 503)
STOPPING: dict[int | str, dict[str, Any]] = {
    202: {"model": job_models.CancelledJob, "description": "It runs and was asked to stop."}
}


@router.post(requests.JOBS, status_code=202, responses=problems.documented(400, *ENQUEUES))
def enqueue_job(
    request: Request,
    response: Response,
    caller: Enqueuer,
    body: EnqueueBody,
    queries: Database,
    paces: Paces,
    private_urls: Annotated[bool, part("fetch_allow_private")],
    idempotency_key: requests.IdempotencyKey = None,
    traceparent: requests.Traceparent = None,
) -> job_models.Accepted:
    """Put a job in line, or with `count` a batch. It is charged when its work starts, and only for an image."""
    user_id = caller.acting_for(body.user_id)
    if user_id is None:
        raise problems.Problem(422, "invalid_request", "user_id: Field required", field="user_id")
    if body.priority < 0 and not caller.may("operate"):
        raise problems.Problem(
            403,
            "missing_scope",
            "A priority below 0 goes before all usual jobs; the key does not have the scope operate.",
            field="priority",
            remedy="Leave out the priority, or give one of 0 or above.",
        )
    check_images(queries, body.payload.images, caller)
    enqueued = jobs.enqueue_for_user(
        queries,
        enqueue_request(body, user_id, idempotency_key, read_traceparent(traceparent)),
        most_waiting=caller.most_waiting,
        private_urls=private_urls,
    )
    return _accepted(request, response, queries, paces, enqueued)


@router.get(requests.JOBS, responses=READS)
def list_jobs(
    request: Request, caller: Reader, filters: Annotated[JobFilters, Query()], queries: Database
) -> job_models.JobPage:
    """The latest jobs first, a page at a time."""
    found = jobs.list_jobs(
        queries,
        caller.acting_for(filters.user_id),
        statuses=filters.status,
        kind=filters.kind,
        before=read_cursor(filters.cursor),
        limit=filters.limit,
    )
    links = requests.Links(request)
    return job_models.JobPage(
        jobs=[job_models.summary(row, links) for row in found.jobs],
        next_cursor=None if found.next is None else write_cursor(found.next),
    )


@router.get(requests.JOBS + "/{job_id}", responses=READS)
def show_job(
    request: Request, caller: Reader, job_id: UUID, queries: Database, paces: Paces, storage: ImageStorage
) -> job_models.JobDetails:
    """One job: its place in line, its attempts, and links to its images that are made anew each time."""
    row = jobs.find_job(queries, job_id, caller.user_id)
    if row is None:
        raise enqueue.job_not_found(job_id)
    position, eta = estimate(queries, paces, row)
    return job_models.details(
        row,
        requests.Links(request),
        storage,
        queue_position=position,
        eta_seconds=eta,
        attempts=jobs.list_attempts(queries, job_id),
        entries=jobs.list_job_entries(queries, job_id),
    )


@router.delete(
    requests.JOBS + "/{job_id}", responses={**STOPPING, **problems.documented(401, 403, 404, 409, 422, 429, 503)}
)
def cancel_job(
    request: Request,
    response: Response,
    caller: Enqueuer,
    job_id: UUID,
    queries: Database,
    reason: requests.ForTheRecord = None,
) -> job_models.CancelledJob:
    """Stop a job. What was charged is refunded."""
    status = jobs.cancel_for_user(queries, job_id, caller.user_id, by=audit_trail.Author(caller.name, reason))
    response.status_code = 200 if status == "cancelled" else 202
    return job_models.CancelledJob(id=job_id, status=status, **requests.Links(request).job(job_id)._asdict())


@router.post(requests.JOBS + "/{job_id}/retry", status_code=202, responses=problems.documented(*ENQUEUES))
def retry_job(
    request: Request,
    response: Response,
    caller: Enqueuer,
    job_id: UUID,
    queries: Database,
    paces: Paces,
    reason: requests.ForTheRecord = None,
) -> job_models.Accepted:
    """Make a new job of one that failed or was cancelled, at today's price. A second retry returns the same new job."""
    by = audit_trail.Author(caller.name, reason)
    new = jobs.replay_for_user(queries, job_id, caller.user_id, most_waiting=caller.most_waiting, by=by)
    return _accepted(request, response, queries, paces, [new])


@router.get(requests.BATCHES + "/{batch_id}", responses=READS)
def show_batch(request: Request, caller: Reader, batch_id: UUID, queries: Database) -> Batch:
    """A batch with all its jobs."""
    found = jobs.list_batch(queries, batch_id, caller.user_id)
    if not found:
        raise problems.Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
    counts = Counter[Status](row["status"] for row in found)
    links = requests.Links(request)
    return Batch(
        id=batch_id,
        events_url=links.batch_events(batch_id),
        total=len(found),
        done=set(counts) <= FINAL,
        counts=dict(counts),
        jobs=[job_models.summary(row, links) for row in found],
    )


def enqueue_request(
    body: EnqueueCommon, user_id: str, idempotency_key: str | None, traceparent: str | None
) -> enqueue.EnqueueRequest:
    """``body`` as it is enqueued. Fields that were not sent are left out, so that equal requests stay equal."""
    values = body.model_dump(exclude_unset=True, exclude={"payload", "run_at", "deadline_at", "user_id"})
    payload: Any = body.model_dump(mode="json", include={"payload"}, exclude_unset=True)["payload"]
    return enqueue.EnqueueRequest(
        **values,
        payload=payload,
        user_id=user_id,
        run_at=body.run_at,
        deadline_at=body.deadline_at,
        idempotency_key=idempotency_key,
        traceparent=traceparent,
    )


def check_images(queries: Queries, images: Iterable[ImageRef], caller: auth.Caller) -> None:
    """A key that is bound to a user may name only that user's uploads, and images that their jobs have made.

    Raises Problem (404), whether the image does not exist or belongs to another user.
    """
    if caller.user_id is None:
        return
    folder = upload_folder(caller.user_id)
    made = {image.key: _job_of(image.key) for image in images if image.key and not image.key.startswith(folder)}
    job_ids = [job for job in made.values() if job is not None]
    owned = jobs.owned_jobs(queries, job_ids, caller.user_id) if job_ids else set[UUID]()
    for key, job in made.items():
        if job is None or job not in owned:
            raise problems.Problem(
                404,
                "image_not_found",
                f"There is no image {key!r} that this key may use.",
                field="payload",
                remedy="Upload it (POST /worker/images), or name the result of one of the user's own jobs.",
            )


def estimate(queries: Queries, paces: LanePaces, row: Row) -> tuple[int | None, float | None]:
    """The number of jobs before it, at most FAR, and the seconds until it is done. Raises StoreUnavailable."""
    if row["status"] == "processing":
        return None, _rounded(seconds_left(row["held_seconds"], paces.of(queries, row["provider"])))
    if row["status"] != "pending":
        return None, None
    position = jobs.queue_position(queries, row["id"], cap=FAR)
    if position is None or position >= FAR or row["paused"]:
        return position, None
    return position, _rounded(seconds_until_done(position, paces.of(queries, row["provider"])))


def _accepted(
    request: Request, response: Response, queries: Queries, paces: LanePaces, enqueued: Sequence[enqueue.EnqueuedJob]
) -> job_models.Accepted:
    first, links = enqueued[0], requests.Links(request)
    row = jobs.find_job(queries, first.id)
    position, eta = (None, None) if row is None else estimate(queries, paces, row)
    response.headers["Location"] = links.job(first.id).status_url
    response.headers["Retry-After"] = str(round(min(max(eta or 2, 1), 60)))
    all_jobs = [job_models.AcceptedJob(id=job.id, status=job.status, **links.job(job.id)._asdict()) for job in enqueued]
    return job_models.Accepted(
        **all_jobs[0].model_dump(),
        queue_position=position,
        eta_seconds=eta,
        paused=row is not None and row["paused"],
        duplicate=first.duplicate,
        batch_id=first.batch_id,
        batch_url=links.batch(first.batch_id),
        jobs=all_jobs,
    )


def _job_of(key: str) -> UUID | None:
    found = IMAGE_KEY.fullmatch(key)
    return UUID(found["job"]) if found else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
