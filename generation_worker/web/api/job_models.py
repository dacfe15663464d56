"""What is said of jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.job import Status
from generation_worker.domain.payload import Kind
from generation_worker.web.requests import Links

Row = Mapping[str, Any]
LINK_SECONDS = 900.0
"""For how long a link to an image works: presigned links are not to be kept."""


class JobUrls(BaseModel):
    """Where to go on; nobody has to put an address together."""

    status_url: str = Field(description="GET: the job.")
    events_url: str = Field(description="GET: what happens to it, as server-sent events, until it ends.")
    cancel_url: str = Field(description="DELETE: stop it.")


class EnqueuedJob(JobUrls):
    """One job of a request that was taken."""

    id: UUID
    status: Status


class Accepted(EnqueuedJob):
    """The request was taken; the image is made later. With `count` above 1 this is the first job of the batch."""

    queue_position: int | None = Field(
        description="Jobs that go before it, so 0 is next; null if it does not wait in line. 10000 means that or more."
    )
    eta_seconds: float | None = Field(
        description="Until its image is there, if things go on as in the last hour; null where nothing is known, or "
        "while it is paused."
    )
    paused: bool = Field(
        description="Nobody starts it for now: everything, its kind, its provider or its user is paused."
    )
    duplicate: bool = Field(description="It had been enqueued before, by the same key and request.")
    batch_id: UUID | None
    batch_url: str | None
    jobs: list[EnqueuedJob] = Field(description="All of them, this one first.")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019a0000-0000-7000-8000-000000000000",
                    "status": "pending",
                    "status_url": "http://localhost:8080/worker/jobs/019a0000-0000-7000-8000-000000000000",
                    "events_url": "http://localhost:8080/worker/jobs/019a0000-0000-7000-8000-000000000000/events",
                    "cancel_url": "http://localhost:8080/worker/jobs/019a0000-0000-7000-8000-000000000000",
                    "queue_position": 3,
                    "eta_seconds": 41.5,
                    "paused": False,
                    "duplicate": False,
                    "batch_id": None,
                    "batch_url": None,
                    "jobs": [],
                }
            ]
        }
    )


class JobError(BaseModel):
    """Why it failed."""

    code: str = Field(examples=["content_blocked"])
    message: str | None


class JobSummary(JobUrls):
    """A job as lists show it. Its columns have the names of the table."""

    id: UUID
    kind: Kind
    user_id: str
    status: Status
    provider: str
    fallback_provider: str | None
    cost: int = Field(description="Credits.")
    debited: bool = Field(description="Whether it was charged; a job that failed or was cancelled got it back.")
    priority: int
    attempt: int
    max_attempts: int | None
    run_at: datetime = Field(description="When it may start, or be tried again.")
    deadline_at: datetime
    cancel_requested: bool
    batch_id: UUID | None
    batch_index: int
    retry_of: UUID | None
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(BaseModel):
    """Jobs, the latest first."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(
        description="Where to go on; null at the end. With filters a page may be short, even empty, before it."
    )


class ResultImage(BaseModel):
    """An image that was made, with links that work for a while."""

    key: str
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    thumbnail_key: str | None = None
    url: str | None = Field(default=None, description="Null if the storage has no addresses, as a disk.")
    thumbnail_url: str | None = None


class JobResult(BaseModel):
    images: list[ResultImage]
    provider: str | None = None
    model: str | None = None


class JobAttempt(BaseModel):
    """How one try of it ended."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    seconds: float
    outcome: str = Field(examples=["failed"])
    error_code: str | None
    error_message: str | None


class JobEntry(BaseModel):
    """What it moved in its user's account."""

    seq: int
    kind: str = Field(examples=["debit"])
    amount: int
    balance_after: int
    created_at: datetime


class JobDetails(JobSummary):
    """All about one job."""

    payload: dict[str, Any]
    queue_position: int | None = Field(description="As when it was enqueued.")
    eta_seconds: float | None
    paused: bool = Field(description="As when it was enqueued.")
    replayed_as: UUID | None
    result: JobResult | None
    attempts: list[JobAttempt]
    entries: list[JobEntry]


class JobEvent(JobSummary):
    """A job as it stands after something has happened to it."""

    queue_position: int | None = Field(
        description="As when it was enqueued. Streams of one job tell it, and tell it anew every few seconds "
        "among the first thousand."
    )
    result: JobResult | None


class Cancelled(JobUrls):
    """`cancelled` at once if it waited. One that runs is asked to stop (202), and may still complete first."""

    id: UUID
    status: Status


Link = Callable[[str], str | None]


def summary(row: Row, links: Links) -> JobSummary:
    return JobSummary.model_validate(_fields(row, links))


def details(row: Row, links: Links, link: Link, **more: Any) -> JobDetails:
    result = None if row["result"] is None else _result(row["result"], link)
    return JobDetails.model_validate({**_fields(row, links), "result": result, **more})


def job_event(row: Row, links: Links, link: Link) -> JobEvent:
    result = None if row["result"] is None else _result(row["result"], link)
    return JobEvent.model_validate({**_fields(row, links), "result": result, "queue_position": row.get("place")})


def _fields(row: Row, links: Links) -> dict[str, Any]:
    code = row["error_code"]
    error = None if code is None else {"code": code, "message": row["error_message"]}
    return {**row, **links.job(row["id"])._asdict(), "error": error}


def _result(result: Row, link: Link) -> JobResult:
    images = [
        {
            **image,
            "url": link(image["key"]),
            "thumbnail_url": link(image["thumbnail_key"]) if image.get("thumbnail_key") else None,
        }
        for image in result.get("images", [])
    ]
    return JobResult.model_validate({**result, "images": images})
