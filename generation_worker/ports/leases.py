"""What the statements answer that give jobs to a worker, or keep them there."""

from __future__ import annotations

from typing import NamedTuple

from generation_worker.domain.job import Job
from generation_worker.domain.trace import trace_id_of


class Refusal(NamedTuple):
    """A job that failed at its claim, because its user cannot pay."""

    id: str
    user_id: str
    age: float = 0.0
    """Seconds from its enqueueing to its end."""
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


class Expiry(NamedTuple):
    """A job that failed because it still waited after its deadline."""

    id: str
    age: float = 0.0
    """Seconds from its enqueueing to its end."""
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


class Suspect(NamedTuple):
    """A job over which a claim may have failed."""

    id: str
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


class Key(NamedTuple):
    """A provider's key whose calls are limited, for the whole fleet together."""

    label: str
    provider: str
    calls_per_minute: int


class Claim(NamedTuple):
    """What one claim brought."""

    jobs: list[Job]
    refused: list[Refusal]
    room_in: float | None = None
    """Jobs wait outside a gate: in so many seconds it may let somebody in."""
    broken: bool = False
    """Jobs wait for a provider whose every breaker is open."""


class Renewal(NamedTuple):
    """A lease that is still held. Not ``renewed``: somebody has locked its row just now, so it is not proved either."""

    renewed: bool
    cancel_requested: bool


class Reclaim(NamedTuple):
    """A job taken over from a worker that fell silent ``held_for`` seconds after its claim."""

    job: Job
    worker: str
    held_for: float


class Promotion(NamedTuple):
    """How many jobs became pending, and in how many seconds the next one is due (None: none waits)."""

    promoted: int
    next_due: float | None
