"""What the worker needs of the database: one method for each statement of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from generation_worker.domain.gate import BREAKER, BreakerPolicy, Verdict
from generation_worker.domain.job import ClaimCursor, Job, Status, trace_id_of
from generation_worker.domain.settlement import Settlement
from generation_worker.domain.webhook import Judgement, Reply
from generation_worker.ports.adapters import StoredObject

# What the statements around a paid call are told, and what they answer.


class CallBegun(NamedTuple):
    """Whether a paid call may be made. ``number`` is None when it may not.

    With ``resume`` it is an earlier call of that number that goes on: the provider keeps its answer under this id.
    ``wait`` and ``reason`` are given if the key's gate is closed.
    """

    held: bool
    cancel_requested: bool
    paid: int
    number: int | None
    resume: str | None = None
    key_label: str | None = None
    """The key that the call is made with; one that goes on may have been begun with another."""
    key_is_held: bool = False
    """A living worker holds the key of the call that goes on."""
    permit: int | None = None
    wait: float | None = None
    reason: str | None = None
    stamped_after: float = 0.0
    """Seconds from the statement's arrival to the stamp: waiting for the gate's row does not make a permit older."""


class Admission(NamedTuple):
    """The permit as it is stamped now, or how many seconds to wait and why. For ``stamped_after`` see CallBegun."""

    permit: int
    wait: float | None
    reason: str | None
    stamped_after: float = 0.0


class GateChange(NamedTuple):
    """What the end of a call has done to the gate of its key."""

    breaker_before: str
    breaker: str
    closed_for: float | None
    """Seconds until the gate may let somebody in; None or less than 0 if it does."""
    has_alternative: bool
    """The job need not wait: another key of the fleet lets calls through, or a second provider may make the image."""


@dataclass(frozen=True, slots=True)
class CallReport:
    """What came of a provider call. ``spent`` is None while nobody knows whether it is charged."""

    milliseconds: int
    spent: bool | None
    model: str | None = None
    provider_ref: str | None = None
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    verdict: Verdict | None = None
    wait: float | None = None
    reason: str | None = None


class Staged(NamedTuple):
    """An image that was paid for and could not be stored: the provider's bytes, and who made them."""

    data: bytes
    provider: str
    model: str


# What the statements answer that give jobs to a worker, or keep them there.


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
    opens_in: float | None = None
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


# What a worker says of itself to the fleet, and what it hears.


class WorkerInfo(NamedTuple):
    """How a worker makes itself known to the fleet."""

    id: str
    version: str
    providers: Sequence[str]
    concurrency: int
    keys: Sequence[Key] = ()


class FleetPause(NamedTuple):
    """Something that nobody starts. ``what`` is ``everything``, ``provider <name>`` or ``kind <name>``."""

    what: str
    since: str
    by: str | None
    reason: str | None


class DisabledEndpoint(NamedTuple):
    """An endpoint that is told nothing any more until somebody enables it."""

    id: str
    since: str
    reason: str


class FleetState(NamedTuple):
    """What the whole fleet is to follow; None where each worker keeps what it was started with.

    ``version`` is another one for each content. Pauses of users are not told.
    """

    version: str
    concurrency: int | None = None
    poll_interval: float | None = None
    pauses: tuple[FleetPause, ...] = ()
    woken: str | None = None
    """When somebody wanted every worker to look for work, if that was ever so."""
    webhooks: tuple[str, ...] = ()
    """Events that endpoints are to be told of; none if there is no endpoint that is enabled."""
    disabled: tuple[DisabledEndpoint, ...] = ()
    """Twenty of them at most."""


class Store(Protocol):
    """The statements of the protocol. Each method raises StoreUnavailable when the database does not answer."""

    def claim_jobs(
        self,
        worker: str,
        marks: Mapping[str, ClaimCursor],
        *,
        keys: Sequence[Key] = (),
        slots: int,
        lease: float,
        max_attempts: int,
        left_out: Sequence[str] = (),
        rehearse: str | None = None,
    ) -> Claim:
        """Claim up to ``slots`` jobs from the lanes in ``marks``, each from its mark on, for ``lease`` seconds.

        Lanes whose providers have ``keys`` give no more than these have permits for. Jobs in ``left_out`` are passed
        over. With ``rehearse`` it is as if that job alone were there, and nothing of what is done lasts.
        """
        ...

    def find_suspects(self, marks: Mapping[str, ClaimCursor], *, limit: int, left_out: Sequence[str]) -> list[Suspect]:
        """The jobs over which a claim for ``limit`` of them may have failed."""
        ...

    def renew_leases(
        self, leases: Sequence[tuple[str, str]], *, lease: float, timeout: float, grace: float
    ) -> dict[str, Renewal]:
        """Renew the leases (job id, token); the answer says which still hold, by the ids of their jobs."""
        ...

    def settle_attempts(self, settlements: Sequence[tuple[Job, Settlement]]) -> dict[str, Status]:
        """Write settlements together; the answer holds the new status of each job whose lease still held."""
        ...

    def reclaim_jobs(self, *, limit: int, lease: float) -> list[Reclaim]: ...

    def promote_jobs(self, *, limit: int) -> Promotion: ...

    def move_jobs(self, *, limit: int) -> int:
        """Move jobs to their second provider where every breaker of the first is open; how many."""
        ...

    def expire_jobs(self, *, limit: int) -> list[Expiry]: ...

    def prune_jobs(self, *, retention: float, limit: int) -> int: ...

    def begin_call(self, job: Job, *, provider: str, key_label: str, max_paid_calls: int) -> CallBegun: ...

    def renew_permit(self, job: Job, number: int, *, key_label: str, permit: int) -> Admission | None:
        """Stamp the permit with this moment; None if the key has no gate."""
        ...

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None: ...

    def return_permit(self, job: Job) -> None:
        """Give back the permit of the job's claim if no call was begun with it."""
        ...

    def finish_call(
        self, job: Job, number: int, report: CallReport, *, policy: BreakerPolicy = BREAKER
    ) -> GateChange | None:
        """Record the call's end; what that has changed at its gate, if anything."""
        ...

    def stage_image(self, job: Job, staged: Staged) -> bool:
        """Keep the image until it is stored; False if the job is over."""
        ...

    def find_staged(self, job: Job) -> Staged | None: ...

    def discard_staged(self, job: Job) -> None: ...

    def prune_staged(self, *, limit: int) -> int: ...

    def claim_task(self, name: str, *, every: float) -> bool: ...

    def finish_task(self, name: str, *, error: str | None) -> None: ...

    def read_cursor(self, name: str) -> str | None:
        """How far a task of many runs has come; None: begin at the start."""
        ...

    def save_cursor(self, name: str, cursor: str | None) -> None: ...

    def save_findings(self, name: str, found: Mapping[str, Any]) -> None: ...

    def find_orphans(self, objects: Sequence[tuple[str, StoredObject]], *, age: float) -> list[str]:
        """Of ``objects`` with the ids of their jobs, the keys older than ``age`` seconds that nobody will ask for."""
        ...

    def find_stale_uploads(self, uploads: Sequence[StoredObject], *, age: float) -> list[str]:
        """The keys of those older than ``age`` seconds that no job which waits or runs names."""
        ...

    def note_swept(self, keys: Sequence[str]) -> None:
        """Remember that these uploads are deleted."""
        ...

    def prune_swept(self, *, retention: float, limit: int) -> int:
        """Forget at most ``limit`` uploads that were deleted before the retention (seconds) began; how many."""
        ...

    def register_worker(self, card: WorkerInfo) -> None: ...

    def touch_worker(self, card: WorkerInfo, *, busy: int, stuck: int, known: str = "") -> FleetState | None:
        """Say that the worker lives; what it is to follow, if that is not the version ``known``."""
        ...

    def park_paused_jobs(self, *, limit: int) -> int:
        """Put paused jobs aside that stand among the first ``limit`` of a lane; how many."""
        ...

    def unpark_jobs(self, *, limit: int) -> int:
        """Give held jobs their places back that are not paused any more; how many."""
        ...

    def set_asleep(self, worker: str, *, asleep: bool) -> None: ...

    def remove_worker(self, worker: str) -> None: ...

    def send_message(self, message: str) -> None:
        """Tell every worker that listens, this one too."""
        ...


# How a statement fails when the database is not there, or not free.


class StoreUnavailable(Exception):
    """The database did not answer. Whether the statement took effect is not known."""


class StoreBusy(StoreUnavailable):
    """Somebody holds a row that the statement needs, and did not let go of it in time. Nothing was changed."""


# Hints between processes.


class Signals(Protocol):
    """Hints between processes, by LISTEN and NOTIFY on a connection of its own. All methods raise StoreUnavailable."""

    def open(self) -> None:
        """Connect and listen."""
        ...

    def send(self, message: str) -> None: ...

    def wait(self, seconds: float) -> list[str]:
        """The messages that came within ``seconds``; returns as soon as there is one."""
        ...

    def close(self) -> None: ...


# What the courier needs: an outbox, and somebody who posts.


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
