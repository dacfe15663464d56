"""Answers about the queue. Spans are in seconds."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from generation_worker.domain.job import Status


class JobCount(NamedTuple):
    status: Status
    jobs: int
    exact: bool
    """False: an estimate, because there are too many to count cheaply."""


class LaneFront(NamedTuple):
    """The job of one lane that has been due for longest, of those first in line."""

    provider: str
    id: UUID
    user_id: str
    kind: str
    since: datetime
    seconds: float
    workers: int
    """Living workers that serve this lane; with 0 it stands still."""


class Lane(NamedTuple):
    """What waits for one provider. Each number is at most ``cap``, and then stands for that many or more."""

    provider: str
    pending: int
    """In line."""
    held: int
    """Put aside, because their user or kind is paused."""
    scheduled: int
    rate_limited: int
    cap: int


class NextDue(NamedTuple):
    id: UUID
    status: Status
    run_at: datetime
    seconds: float
    """From now; below zero if it is due and not yet promoted."""


class ProcessingJob(NamedTuple):
    id: UUID
    kind: str
    user_id: str
    provider: str
    attempt: int
    max_attempts: int
    worker: str
    seconds: float
    """Since the claim."""
    lease_seconds: float
    """Until the lease expires; below zero if it has, and nobody has taken the job over yet."""
    cancel_requested: bool
