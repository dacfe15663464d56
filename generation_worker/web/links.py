"""The addresses that answers give away ready made, so that nobody has to put one together."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from fastapi import Request

JOBS = "/worker/jobs"
BATCHES = "/worker/batches"
EVENTS = "/worker/events"


def job_path(job_id: UUID) -> str:
    return f"{JOBS}/{job_id}"


def events_path(job_id: UUID) -> str:
    """Where a job tells of its changes until it ends."""
    return f"{JOBS}/{job_id}/events"


def batch_path(batch_id: UUID) -> str:
    return f"{BATCHES}/{batch_id}"


class JobLinks(NamedTuple):
    status_url: str
    events_url: str
    cancel_url: str
    """To be sent a DELETE."""


class Links:
    """Addresses as the caller knows this server: by the name they called, and the scheme that a proxy reports."""

    def __init__(self, request: Request) -> None:
        base = request.base_url
        forwarded = request.headers.get("x-forwarded-proto")
        scheme = forwarded if forwarded in ("http", "https") else base.scheme
        self._base = f"{scheme}://{base.netloc}"

    def job(self, job_id: UUID) -> JobLinks:
        status = self._base + job_path(job_id)
        return JobLinks(status, self._base + events_path(job_id), status)

    def batch(self, batch_id: UUID | None) -> str | None:
        return None if batch_id is None else self._base + batch_path(batch_id)

    def batch_events(self, batch_id: UUID) -> str:
        return f"{self._base}{batch_path(batch_id)}/events"
