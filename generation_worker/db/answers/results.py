"""Answers about what came of the jobs of late. Spans are in seconds. Amounts are in credits."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Throughput(NamedTuple):
    span: str
    """hour or day."""
    completed: int
    failed: int
    cancelled: int
    per_minute: float
    mean_seconds: float | None
    """From the first start to completion; None if nothing was completed."""
    credits_charged: int
    """For completed jobs."""
    refunds: int
    credits_refunded: int
    exact: bool


class EndedSpan(NamedTuple):
    """What ended within one of several spans of the same length."""

    since: datetime
    completed: int
    failed: int
    cancelled: int
    mean_seconds: float | None
    """From the first start to completion; None if nothing was completed."""
    exact: bool
    """False: there was more than was looked at."""


class DuplicateCalls(NamedTuple):
    """What was, or may have been, paid for twice."""

    jobs: int
    calls: int
    """Beyond the first of each job."""
    credits: int
    """What users pay for as many images: providers do not tell their price."""
    example: UUID | None
    """The latest of them."""


class CallsOfKey(NamedTuple):
    """Calls of one key that ended in the same way."""

    provider: str
    key_label: str
    model: str | None
    outcome: str | None
    """``ok``, or the code of what went wrong; None for those under way, and those of which nobody knows more."""
    calls: int
    mean_milliseconds: float | None
    paid_in_vain: int
    """Charged, and no image came of it."""
    perhaps_paid: int
    """Nobody knows whether they were charged."""
    exact: bool
    """False: there were more calls than were looked at."""


class FailureCode(NamedTuple):
    code: str
    jobs: int
    last_at: datetime
    example: UUID
    message: str | None


class DeadLetter(NamedTuple):
    id: UUID
    kind: str
    user_id: str
    provider: str
    cost: int
    debited: bool
    """Whether it was charged, and so refunded."""
    attempt: int
    error_code: str
    error_message: str | None
    created_at: datetime
    finished_at: datetime
    replayed_as: UUID | None


class DeadLetters(NamedTuple):
    letters: list[DeadLetter]
    cursor: str | None
    """Where the next page begins; None if this is the last."""
