"""The answers of the API about jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.job import Status
from generation_worker.domain.payload import Kind
from generation_worker.ports import Storage
from generation_worker.web.requests import Links

Row = Mapping[str, Any]
LINK_SECONDS = 900.0
"""How long a link to an image works: presigned links must not be stored."""


class JobUrls(BaseModel):
    """The addresses of the job, so that no client has to build one."""

    status_url: str = Field(description="GET: the job.")
    events_url: str = Field(description="GET: its changes as server-sent events, until it ends.")
    cancel_url: str = Field(description="DELETE: stop it.")


class AcceptedJob(JobUrls):
    """One job of an accepted request."""

    id: UUID
    status: Status


class Accepted(AcceptedJob):
    """The request was accepted; the image is made later. With `count` above 1 this is the first job of the batch."""

    queue_position: int | None = Field(
        description="Jobs before it in its lane, so 0 is next; null if it is not pending. 10000: that many or more."
    )
    eta_seconds: float | None = Field(
        description="Estimated seconds until its image is made, at the pace of the last hour; null while it is paused, "
        "or without a basis for an estimate."
    )
    paused: bool = Field(description="No worker starts it: everything, its kind, its provider or its user is paused.")
    duplicate: bool = Field(description="The same key and request had been enqueued before.")
    batch_id: UUID | None
    batch_url: str | None
    jobs: list[AcceptedJob] = Field(description="All of them, this one first.")

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


class JobFailure(BaseModel):
    """Why the job failed."""

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
    debited: bool = Field(description="Whether it was charged; if it failed or was cancelled, this was refunded.")
    priority: int
    attempt: int
    max_attempts: int | None
    run_at: datetime = Field(description="The earliest time of its start, or of its next attempt.")
    deadline_at: datetime
    cancel_requested: bool
    batch_id: UUID | None
    batch_index: int
    retry_of: UUID | None
    error: JobFailure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(BaseModel):
    """Jobs, the latest first."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(
        description="The next page; null at the end. With filters a page may be short, even empty, before the end."
    )


class ResultImage(BaseModel):
    """An image of the result, with links that expire."""

    key: str
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    thumbnail_key: str | None = None
    url: str | None = Field(default=None, description="Null if the storage has no addresses, such as a disk.")
    thumbnail_url: str | None = None


class JobResult(BaseModel):
    images: list[ResultImage]
    provider: str | None = None
    model: str | None = None


class JobAttempt(BaseModel):
    """An attempt that has ended."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    seconds: float
    outcome: str = Field(examples=["failed"])
    error_code: str | None
    error_message: str | None


class JobEntry(BaseModel):
    """A credit entry of the job in its user's account."""

    seq: int
    kind: str = Field(examples=["debit"])
    amount: int
    balance_after: int
    created_at: datetime


class JobDetails(JobSummary):
    """One job with its attempts, credit entries and images."""

    payload: dict[str, Any]
    queue_position: int | None = Field(description="As when it was enqueued.")
    eta_seconds: float | None
    paused: bool = Field(description="As when it was enqueued.")
    replayed_as: UUID | None
    result: JobResult | None
    attempts: list[JobAttempt]
    entries: list[JobEntry]


class JobEvent(JobSummary):
    """A job after a change."""

    queue_position: int | None = Field(
        description="As when it was enqueued. Only in streams of one job, and updated every few seconds "
        "among the first thousand."
    )
    result: JobResult | None


class CancelledJob(JobUrls):
    """`cancelled` at once if it waited. A running job is asked to stop (202), and may still complete first."""

    id: UUID
    status: Status


def summary(row: Row, links: Links) -> JobSummary:
    """A row of a list."""
    return JobSummary.model_validate(_fields(row, links))


def details(row: Row, links: Links, storage: Storage, **more: Any) -> JobDetails:
    """A row of ``find_job``, with links to its images."""
    return JobDetails.model_validate({**_fields(row, links), "result": _result(row["result"], storage), **more})


def job_event(row: Row, links: Links, storage: Storage) -> JobEvent:
    """A row of a stream, with links to its images."""
    result, position = _result(row["result"], storage), row.get("queue_position")
    return JobEvent.model_validate({**_fields(row, links), "result": result, "queue_position": position})


def _fields(row: Row, links: Links) -> dict[str, Any]:
    code = row["error_code"]
    error = None if code is None else {"code": code, "message": row["error_message"]}
    return {**row, **links.job(row["id"])._asdict(), "error": error}


def _result(result: Row | None, storage: Storage) -> JobResult | None:
    if result is None:
        return None
    images = [
        {
            **image,
            "url": storage.link(image["key"], seconds=LINK_SECONDS),
            "thumbnail_url": _thumbnail_link(image, storage),
        }
        for image in result.get("images", [])
    ]
    return JobResult.model_validate({**result, "images": images})


def _thumbnail_link(image: Row, storage: Storage) -> str | None:
    key = image.get("thumbnail_key")
    return storage.link(key, seconds=LINK_SECONDS) if key else None
