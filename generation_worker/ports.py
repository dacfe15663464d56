"""What the worker needs from the outside, in its own words. Adapters fulfil these; the worker knows no adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from generation_worker.domain import finding
from generation_worker.domain.gate import BREAKER, BreakerPolicy, Verdict
from generation_worker.domain.job import Job, Place, Status
from generation_worker.domain.notice import Notice
from generation_worker.domain.payload import Operation, Output
from generation_worker.domain.settlement import Settlement


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of one image that was opened and found sound. Width and height are pixels."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image as it is to be stored, and its thumbnail if one was asked for."""

    image: Picture
    thumbnail: Picture | None


class Watch(Protocol):
    """Whether something that takes its time may go on. Asked often: before each read, each write, each wait."""

    def check(self) -> None:
        """Return if the attempt may go on.

        Raises CancelRequested, LeaseLost or ShuttingDown (all AttemptStopped), or AttemptTimedOut.
        """
        ...

    def seconds_left(self) -> float:
        """Seconds until the attempt's deadline; never negative."""
        ...


class Control(Watch, Protocol):
    """The attempt's own view of whether it may go on."""

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        """Sleep, but no longer than the attempt may go on. Raises as ``check`` does, as soon as it is true.

        ``wake_on`` is the provider's id of the call: a notice about it ends the pause, also one that came before. Each
        ends one pause at most, may come early, late, twice or never, and says nothing but that a look may be worth it.
        """
        ...

    def admit(self) -> None:
        """Called when the request that will be paid is about to leave: sees to it that its permit is for this moment.

        Raises GateClosed if it must not leave.
        """
        ...

    def remember(self, provider_ref: str) -> None:
        """Keep the provider's id of this call before its answer is awaited: a later attempt gets it as ``resume``.

        Never raises. While the database is away the id is kept in memory, and written at one of the next pauses.
        """
        ...


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One image that a provider is asked for."""

    job_id: str
    attempt: int
    """Which request for this job it is, from 1; waits for a rate limit count here."""
    prompt: str
    images: tuple[Picture, ...] = ()
    aspect_ratio: str | None = None
    image_size: str | None = None
    resume: str | None = None
    """What an earlier call for this job remembered, and nobody has received: ask for that, and begin nothing new.

    Raises CallLost if the provider cannot give it any more.
    """


@dataclass(frozen=True, slots=True)
class Generated:
    """A provider's answer: bytes that are not yet checked, and what the call cost in the provider's words."""

    data: bytes = field(repr=False)
    model: str
    provider_ref: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Provider(Protocol):
    """Makes images. Safe to use from many threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def key_label(self) -> str:
        """Names the key in use without revealing it."""
        ...

    def warm_up(self) -> None:
        """Do what is slow the first time (imports, clients), before the first job is claimed."""
        ...

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """One call. Raises ProviderError with the right answer to retry, wait and spent; AttemptStopped via control."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """An adapter that can tell whether it would work, without spending anything."""

    def check(self, *, seconds: float) -> finding.Verdict:
        """Ask the other side, for at most about ``seconds``. Never raises for what the other side does."""
        ...


class WebhookReader(Protocol):
    """Reads what a provider sends of its own accord. Safe to use from many threads at once."""

    @property
    def most_bytes(self) -> int:
        """A larger body is not read."""
        ...

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The notice in a request; the names of headers are in lower case.

        Raises NoticeRefused, and SignatureInvalid before anything of the body is believed.
        """
        ...


class StoredObject(NamedTuple):
    """An object as the storage lists it. ``modified_at`` is by the storage's clock."""

    key: str
    modified_at: datetime


class Storage(Protocol):
    """Keeps objects under keys. Safe to use from many threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> float:
        """Seconds after which any of its operations on one object has ended, though its server may hang."""
        ...

    def warm_up(self) -> None: ...

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data`` whole or not at all; the same key again replaces it. Raises StorageUnavailable."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none.

        Raises StorageUnavailable, or InputRejected if it is larger than any image should be.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable."""
        ...

    def link(self, key: str, *, seconds: float) -> str | None:
        """Where a browser finds the object for so long; None if this storage has no addresses."""
        ...

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """At most ``limit`` objects in the order of their keys; an empty list only if there are no more.

        Raises StorageUnavailable.
        """
        ...

    def discard_unfinished(self, *, older_than: float) -> int:
        """Remove what writes that were cut off so many seconds ago have left; how many. Raises StorageUnavailable."""
        ...


class Fetcher(Protocol):
    """Gets inputs by URL. Safe to use from many threads at once."""

    def warm_up(self) -> None: ...

    def fetch(self, url: str, watch: Watch) -> bytes:
        """The bytes behind a user's URL: not too many, and not yet looked at.

        Raises InputRejected, also for a URL that may not be asked; InputNotFound, InputUnavailable; and as ``watch``.
        """
        ...


class Images(Protocol):
    """Opens and converts untrusted bytes, within limits on pixels, memory and time."""

    def warm_up(self) -> None: ...

    def open(self, data: bytes) -> Picture:
        """The image, upright and without metadata, as PNG or JPEG. Raises InputRejected."""
        ...

    def render(self, data: bytes, output: Output) -> Rendered:
        """The image as ``output`` wants it. Raises InputRejected."""
        ...

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        """The image after ``operations``, in their order. Raises InputRejected."""
        ...

    def close(self) -> None: ...


class StoreUnavailable(Exception):
    """The database did not answer. Whether the statement took effect is not known."""


class StoreBusy(StoreUnavailable):
    """Somebody holds a row that the statement needs, and did not let go of it in time. Nothing was changed."""


class Refusal(NamedTuple):
    """A job that failed at its claim, because its user cannot pay."""

    id: str
    user_id: str


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


class GateNews(NamedTuple):
    """What the end of a call has done to the gate of its key."""

    breaker_before: str
    breaker: str
    closed_for: float | None
    """Seconds until the gate may let somebody in; None or less than 0 if it does."""
    another_way: bool
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


class WorkerCard(NamedTuple):
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


class FleetNews(NamedTuple):
    """What the whole fleet is to follow; None where each worker keeps what it was started with.

    ``version`` is another one for each content. Pauses of users are not told.
    """

    version: str
    concurrency: int | None = None
    poll_interval: float | None = None
    pauses: tuple[FleetPause, ...] = ()


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


class Store(Protocol):
    """The statements of the protocol. Each method raises StoreUnavailable when the database does not answer."""

    def claim_jobs(
        self,
        worker: str,
        marks: Mapping[str, Place],
        *,
        keys: Sequence[Key] = (),
        slots: int,
        lease: float,
        max_attempts: int,
    ) -> Claim:
        """Claim up to ``slots`` jobs from the lanes in ``marks``, each from its mark on, for ``lease`` seconds.

        Lanes whose providers have ``keys`` give no more than these have permits for.
        """
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

    def expire_jobs(self, *, limit: int) -> list[str]: ...

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
    ) -> GateNews | None:
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

    def register_worker(self, card: WorkerCard) -> None: ...

    def touch_worker(self, card: WorkerCard, *, busy: int, stuck: int, known: str = "") -> FleetNews | None:
        """Say that the worker lives; what it is to follow, if that is not the version ``known``."""
        ...

    def hold_jobs(self, *, limit: int) -> int:
        """Put paused jobs aside that stand among the first ``limit`` of a lane; how many."""
        ...

    def free_jobs(self, *, limit: int) -> int:
        """Give held jobs their places back that are not paused any more; how many."""
        ...

    def set_asleep(self, worker: str, *, asleep: bool) -> None: ...

    def remove_worker(self, worker: str) -> None: ...

    def send_message(self, message: str) -> None:
        """Tell every worker that listens, this one too."""
        ...
