"""A claimed job, as the worker holds it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from generation_worker.domain.trace import Trace

Status = Literal["pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled"]

WAITING: frozenset[Status] = frozenset({"pending", "scheduled", "rate_limited"})
FINAL: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})

MOST_ATTEMPTS = 100
"""The highest ``max_attempts`` that the table allows."""
NO_PROVIDER = "none"
"""The lane of jobs that are done here, without a provider."""


class Place(NamedTuple):
    """Where a job stands in its lane; claims go from the lowest place up."""

    priority: int
    position: str
    """A timestamp as the database writes it: it goes back to the database unread."""
    id: str


class Job(NamedTuple):
    """What one attempt needs to know. The fields are the columns of a claim; ids are texts."""

    id: str
    kind: str
    user_id: str
    provider: str
    payload: str
    """JSON text; parsed by the thread that works on it."""
    cost: int
    attempt: int
    """Which try this is, from 1; crashes count, waits for a rate limit do not."""
    max_attempts: int
    crashes: int
    waits: int
    lease_token: str
    seconds_left: float
    """From the claim to the job's own deadline, by the database's clock."""
    key_label: str | None
    """The provider's key that the claim has a permit for; None where nothing is limited, or nothing has to be asked."""
    permit: int | None
    """The tenth of a second, from the epoch on, for which the permit counts."""
    place: Place
    waited: float = 0.0
    """Seconds from the moment it might have started to this claim."""
    age: float = 0.0
    """Seconds from its enqueueing to this claim."""
    traceparent: str | None = None
    """The span of whoever enqueued it."""
    began_with: str | None = None
    """The token that the attempt began with, if its lease has expired and this one only settles it."""

    @property
    def trace(self) -> Trace:
        return Trace(self.id, self.traceparent, self.began_with or self.lease_token)

    @property
    def tags(self) -> dict[str, Any]:
        """What every event about the job says of it."""
        return {
            "job": self.id,
            "attempt": self.attempt,
            "user": self.user_id,
            "trace": self.trace,
        }


FRONT = Place(-(2**31), "-infinity", "00000000-0000-0000-0000-000000000000")
"""The lowest place there is."""
