"""What the courier needs: an outbox, and somebody who posts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from generation_worker.domain.trace import trace_id_of
from generation_worker.domain.webhook import Judgement, Reply


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one endpoint, as a courier has taken it. Ids are texts."""

    id: str
    """The message's, the same at each try."""
    endpoint: str
    event: str
    url: str = field(repr=False)
    """May hold a secret."""
    secrets: Sequence[str] = field(repr=False)
    """Each of them signs."""
    failing: bool
    """The endpoint's last answer was a failure."""
    body: str = field(repr=False)
    attempts: int
    """Which try this is, from 1."""
    token: str
    """The fence: every write of this try names it."""
    job: str | None = None
    """The job whose end it tells of; None if it tells of something else."""
    traceparent: str | None = None
    """The job's, unless it has been deleted meanwhile."""

    @property
    def tags(self) -> dict[str, Any]:
        """What every event about the delivery says of it."""
        named = {"delivery": self.id, "endpoint": self.endpoint, "type": self.event}
        if self.job is None:
            return named
        trace_id = trace_id_of(self.job, self.traceparent)
        return {**named, "job": self.job, "trace_id": trace_id, "traceparent": self.traceparent}


class Recorded(NamedTuple):
    """``held``: the delivery was still this courier's. ``disabled_for``: why its endpoint has just been disabled."""

    held: bool
    disabled_for: str | None = None


class Outbox(Protocol):
    """What is to be told. Each method raises StoreUnavailable when the database does not answer."""

    def claim_deliveries(
        self, *, slots: int, per_endpoint: int, failing_slots: int, busy: Mapping[str, int], lease: float
    ) -> list[Delivery]:
        """Take up to ``slots`` deliveries that are due, for ``lease`` seconds; ``busy`` senders per endpoint count."""
        ...

    def record_delivery(self, delivery: Delivery, reply: Reply, judgement: Judgement) -> Recorded: ...

    def finish_batches(self, *, limit: int) -> int:
        """Write what is to be told of batches whose last job has ended; how many messages."""
        ...

    def prune_deliveries(self, *, retention: float, limit: int) -> int: ...


class Poster(Protocol):
    """Posts signed messages. Safe to use from many threads at once."""

    @property
    def longest(self) -> float:
        """Seconds after which any try has ended."""
        ...

    def warm_up(self) -> None: ...

    def post(self, delivery: Delivery) -> Reply:
        """One try. Never raises for what the other side does."""
        ...
