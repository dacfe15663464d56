"""The interfaces of the database and of the webhook sender, and the values that they exchange.

``Store`` has one method for each statement of the protocol, by the same name as its file in ``db/sql/protocol``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from generation_worker.domain import gate, settlement, webhook
from generation_worker.domain.job import ClaimCursor, Job, Status, trace_id_of
from generation_worker.ports.adapters import StoredObject

# claims and leases


class LimitedKey(NamedTuple):
    """A provider's key with a limit, which holds for the whole fleet together."""

    label: str
    provider: str
    calls_per_minute: int


class RefusedJob(NamedTuple):
    """A job that failed at its claim because its user's balance does not cover it."""

    id: str
    user_id: str
    age: float = 0.0
    """Seconds from its enqueueing to its end."""
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


class Claim(NamedTuple):
    """The result of one claim."""

    jobs: list[Job]
    refused: list[RefusedJob]
    opens_in: float | None = None
    """Jobs wait for a closed gate: the seconds until one may open."""
    all_breakers_open: bool = False
    """Jobs wait for a provider whose every breaker is open."""


class Suspect(NamedTuple):
    """A job that may have made a claim fail."""

    id: str
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


class Renewal(NamedTuple):
    """A lease that still holds. It is not ``renewed`` while its row is locked by another session."""

    renewed: bool
    cancel_requested: bool


class ReclaimedJob(NamedTuple):
    """A job taken over from a worker whose lease expired ``held_for`` seconds after its claim."""

    job: Job
    worker: str
    held_for: float


class Promotion(NamedTuple):
    """The number of jobs that became pending, and the seconds until the next one is due (None: there is none)."""

    promoted: int
    next_due: float | None


class ExpiredJob(NamedTuple):
    """A job that failed because it still waited after its deadline."""

    id: str
    age: float = 0.0
    """Seconds from its enqueueing to its end."""
    traceparent: str | None = None

    @property
    def trace_id(self) -> str:
        return trace_id_of(self.id, self.traceparent)


# paid calls


class CallBegun(NamedTuple):
    """Whether a paid call may be made. ``number`` is None if it may not.

    With ``resume``, an earlier call of that number continues: the provider keeps its answer under this id. ``wait`` and
    ``reason`` are set if the key's gate is closed.
    """

    held: bool
    """Whether the attempt still holds its lease."""
    cancel_requested: bool
    paid: int
    number: int | None
    resume: str | None = None
    key_label: str | None = None
    """The key of the call; a resumed call may have been made with another one."""
    key_is_held: bool = False
    """Whether a living worker holds the key of the resumed call."""
    permit: int | None = None
    wait: float | None = None
    reason: str | None = None
    stamped_after: float = 0.0
    """Seconds from the statement's start to the stamp: a wait for the gate's row does not age the permit."""


class Admission(NamedTuple):
    """A renewed permit, or the seconds to wait and the reason. For ``stamped_after`` see CallBegun."""

    permit: int
    wait: float | None
    reason: str | None
    stamped_after: float = 0.0


@dataclass(frozen=True, slots=True)
class CallReport:
    """The end of a provider call. ``spent`` is None if it is not known whether the call is charged."""

    milliseconds: int
    spent: bool | None
    model: str | None = None
    provider_ref: str | None = None
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    verdict: gate.Verdict | None = None
    wait: float | None = None
    reason: str | None = None


class GateChange(NamedTuple):
    """How the end of a call has changed the gate of its key."""

    breaker_before: str
    breaker: str
    closed_for: float | None
    """Seconds until the gate may admit a call; None or negative if it is open."""
    has_alternative: bool
    """Whether the job need not wait, because another key admits calls or a second provider may make the image."""


class Staged(NamedTuple):
    """A paid image that could not be stored: the provider's bytes, the provider and its model."""

    data: bytes
    provider: str
    model: str


# the worker and its fleet


class WorkerInfo(NamedTuple):
    """What a worker registers with."""

    id: str
    version: str
    providers: Sequence[str]
    concurrency: int
    keys: Sequence[LimitedKey] = ()


class FleetPause(NamedTuple):
    """Jobs that no worker starts. ``what`` is ``everything``, ``provider <name>`` or ``kind <name>``."""

    what: str
    since: str
    by: str | None
    reason: str | None


class DisabledEndpoint(NamedTuple):
    """An endpoint that gets no webhooks until an operator enables it."""

    id: str
    since: str
    reason: str


class FleetState(NamedTuple):
    """The settings of the whole fleet; None where each worker keeps its own.

    Each content has its own ``version``. Pauses of users are not included.
    """

    version: str
    concurrency: int | None = None
    poll_interval: float | None = None
    pauses: tuple[FleetPause, ...] = ()
    woken: str | None = None
    """When an operator last woke every worker, if ever."""
    webhooks: tuple[str, ...] = ()
    """The events that enabled endpoints are subscribed to."""
    disabled: tuple[DisabledEndpoint, ...] = ()
    """At most twenty of them."""


# webhooks


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one endpoint, claimed by a courier. Ids are texts."""

    id: str
    """The message's id, the same at each try."""
    endpoint: str
    event: str
    url: str = field(repr=False)
    """May contain a secret."""
    secrets: Sequence[str] = field(repr=False)
    """Each of them signs."""
    failing: bool
    """Whether the endpoint's last delivery failed."""
    body: str = field(repr=False)
    attempts: int
    """The number of this try, from 1."""
    token: str
    """The fence: every write of this try names it."""
    job: str | None = None
    """The job that the message is about, if it is about one."""
    traceparent: str | None = None
    """The job's, unless the job has been deleted."""

    @property
    def tags(self) -> dict[str, Any]:
        """The fields of every event about the delivery."""
        named = {"delivery": self.id, "endpoint": self.endpoint, "type": self.event}
        if self.job is None:
            return named
        trace_id = trace_id_of(self.job, self.traceparent)
        return {**named, "job": self.job, "trace_id": trace_id, "traceparent": self.traceparent}


class Recorded(NamedTuple):
    """``held``: the courier still held the delivery. ``disabled_for``: why its endpoint has just been disabled."""

    held: bool
    disabled_for: str | None = None


class Poster(Protocol):
    """POSTs signed messages. Thread-safe."""

    @property
    def longest(self) -> float:
        """Seconds after which any try has ended."""
        ...

    def warm_up(self) -> None: ...

    def post(self, delivery: Delivery) -> webhook.Reply:
        """One try. Raises for no behaviour of the endpoint."""
        ...


# the database


class StoreUnavailable(Exception):
    """The database did not answer. It is not known whether the statement took effect."""


class StoreBusy(StoreUnavailable):
    """Another session holds a row lock that the statement needs. Nothing was changed."""


class Signals(Protocol):
    """Messages between processes, by LISTEN and NOTIFY on a connection of its own. Methods raise StoreUnavailable."""

    def open(self) -> None:
        """Connect and listen."""
        ...

    def send(self, message: str) -> None: ...

    def wait(self, seconds: float) -> list[str]:
        """The messages that arrive within ``seconds``; returns at the first one."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """The statements of the protocol. Each method raises StoreUnavailable if the database does not answer."""

    # claims and leases

    def claim_jobs(
        self,
        worker: str,
        low_water_marks: Mapping[str, ClaimCursor],
        *,
        keys: Sequence[LimitedKey] = (),
        slots: int,
        lease: float,
        max_attempts: int,
        left_out: Sequence[str] = (),
        rehearse: str | None = None,
    ) -> Claim:
        """Claim up to ``slots`` jobs for ``lease`` seconds from the lanes in ``low_water_marks``.

        Each lane is read from its mark on. Lanes whose providers have ``keys`` give no more jobs than these have
        permits for. Jobs in ``left_out`` are skipped. With ``rehearse`` only that job is claimed, and the transaction
        is rolled back.
        """
        ...

    def find_suspects(
        self, low_water_marks: Mapping[str, ClaimCursor], *, limit: int, left_out: Sequence[str]
    ) -> list[Suspect]:
        """The jobs that may have made a claim of ``limit`` jobs fail."""
        ...

    def renew_leases(
        self, leases: Sequence[tuple[str, str]], *, lease: float, timeout: float, grace: float
    ) -> dict[str, Renewal]:
        """Renew the leases (job id, token); returns those that still hold, by the ids of their jobs."""
        ...

    def settle_attempts(self, settlements: Sequence[tuple[Job, settlement.Settlement]]) -> dict[str, Status]:
        """Write settlements together; returns the new status of each job whose lease still held."""
        ...

    def reclaim_jobs(self, *, limit: int, lease: float) -> list[ReclaimedJob]: ...

    def promote_jobs(self, *, limit: int) -> Promotion: ...

    def move_jobs(self, *, limit: int) -> int:
        """Move jobs to their second provider where every breaker of the first is open; returns how many."""
        ...

    def expire_jobs(self, *, limit: int) -> list[ExpiredJob]: ...

    def park_paused_jobs(self, *, limit: int) -> int:
        """Park paused jobs among the first ``limit`` of each lane; returns how many."""
        ...

    def unpark_jobs(self, *, limit: int) -> int:
        """Return parked jobs that are not paused any more to their lanes; returns how many."""
        ...

    def prune_jobs(self, *, retention: float, limit: int) -> int: ...

    # paid calls

    def begin_call(self, job: Job, *, provider: str, key_label: str, max_paid_calls: int) -> CallBegun: ...

    def renew_permit(self, job: Job, number: int, *, key_label: str, permit: int) -> Admission | None:
        """Stamp the permit with the present time; None if the key has no gate."""
        ...

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None: ...

    def return_permit(self, job: Job) -> None:
        """Give back the permit of the job's claim if no call was begun with it."""
        ...

    def finish_call(
        self, job: Job, number: int, report: CallReport, *, policy: gate.BreakerPolicy = gate.BREAKER
    ) -> GateChange | None:
        """Record the call's end; returns how this has changed its gate, if it has one."""
        ...

    # images

    def stage_image(self, job: Job, staged: Staged) -> bool:
        """Keep the image until it is stored; False if the job is over."""
        ...

    def find_staged(self, job: Job) -> Staged | None: ...

    def discard_staged(self, job: Job) -> None: ...

    def prune_staged(self, *, limit: int) -> int: ...

    def find_orphans(self, objects: Sequence[tuple[str, StoredObject]], *, age: float) -> list[str]:
        """Of ``objects`` with the ids of their jobs, the keys older than ``age`` seconds that nothing refers to."""
        ...

    def find_stale_uploads(self, uploads: Sequence[StoredObject], *, age: float) -> list[str]:
        """The keys of ``uploads`` older than ``age`` seconds that no waiting or running job names."""
        ...

    def note_swept(self, keys: Sequence[str]) -> None:
        """Record that these uploads are deleted."""
        ...

    def prune_swept(self, *, retention: float, limit: int) -> int:
        """Delete records of at most ``limit`` uploads that were deleted before the retention (seconds); how many."""
        ...

    # maintenance tasks

    def claim_task(self, name: str, *, every: float) -> bool: ...

    def finish_task(self, name: str, *, error: str | None) -> None: ...

    def read_cursor(self, name: str) -> str | None:
        """The position of a task that takes many runs; None at the beginning."""
        ...

    def save_cursor(self, name: str, cursor: str | None) -> None: ...

    def save_findings(self, name: str, found: Mapping[str, Any]) -> None: ...

    # the worker and its fleet

    def register_worker(self, info: WorkerInfo) -> None: ...

    def touch_worker(self, info: WorkerInfo, *, busy: int, stuck: int, known: str = "") -> FleetState | None:
        """Record that the worker lives; returns the fleet's state if its version is not ``known``."""
        ...

    def set_asleep(self, worker: str, *, asleep: bool) -> None: ...

    def remove_worker(self, worker: str) -> None: ...

    def send_message(self, message: str) -> None:
        """Notify every worker that listens, including this one."""
        ...

    # webhooks

    def claim_deliveries(
        self, *, slots: int, per_endpoint: int, failing_slots: int, busy: Mapping[str, int], lease: float
    ) -> list[Delivery]:
        """Claim up to ``slots`` due deliveries for ``lease`` seconds.

        ``busy`` is the number of senders that are busy, by endpoint.
        """
        ...

    def record_delivery(self, delivery: Delivery, reply: webhook.Reply, judgement: webhook.Judgement) -> Recorded: ...

    def finish_batches(self, *, limit: int) -> int:
        """Write the messages of batches whose last job has ended; returns how many."""
        ...

    def prune_deliveries(self, *, retention: float, limit: int) -> int: ...
