"""What the questions of ``insights`` are answered with. Spans are in seconds, amounts in credits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from generation_worker.domain.job import Status

Row = dict[str, Any]


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


class Worker(NamedTuple):
    id: str
    state: str
    """silent (not heard of for two minutes), stuck, busy, asleep or idle."""
    busy: int
    stuck: int
    concurrency: int
    providers: list[str]
    version: str
    started_at: datetime
    seen_at: datetime
    seen_seconds: float


class Gate(NamedTuple):
    """How things stand with one key of a provider, for the whole fleet."""

    key_label: str
    provider: str
    calls_per_minute: int
    used: int
    """Calls of the last minute."""
    state: str
    """ok, limited (the provider said 429), open (the breaker is), or probing (one job tries whether it works again)."""
    reason: str | None
    seconds: float
    """Until it is tried again."""
    opened_at: datetime | None
    failures: int
    """Calls that have failed one after the other."""
    workers: int
    """Living workers that hold the key."""


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


class DuplicateCalls(NamedTuple):
    """What was, or may have been, paid for twice."""

    jobs: int
    calls: int
    """Beyond the first of each job."""
    credits: int
    """What users pay for as many images: providers do not tell their price."""
    example: UUID | None
    """The latest of them."""


class MaintenanceTask(NamedTuple):
    name: str
    seconds: float | None
    """Since it was done to its end; None if it never was."""
    last_error: str | None
    """Of the last run; None if that went well."""
    found: dict[str, Any] | None
    """What it keeps for others; None if it keeps nothing."""


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


class Balance(NamedTuple):
    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime


class Account(NamedTuple):
    user_id: str
    balance: int
    entries: int
    fair_weight: float
    created_at: datetime
    waiting: int
    """What the user's waiting jobs will cost when they start."""


class Entry(NamedTuple):
    seq: int
    kind: str
    amount: int
    balance_after: int
    job_id: UUID | None
    refund_of: int | None
    idempotency_key: str | None
    reason: str | None
    actor: str | None
    created_at: datetime


class FleetSetting(NamedTuple):
    name: str
    value: Any
    updated_at: datetime
    updated_by: str | None


class Pause(NamedTuple):
    """What nobody starts. ``name`` is the setting that keeps it, such as ``paused.provider.gemini``."""

    name: str
    reason: str | None
    since: datetime
    by: str | None


class AuditEvent(NamedTuple):
    """One change by a person or a key."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str | None
    before: Any
    after: Any


class Endpoint(NamedTuple):
    """An address that is told of events."""

    id: UUID
    url: str
    events: list[str]
    user_id: str | None
    """The only user whose jobs it is told of; None: of all."""
    state: str
    """ok, failing, resting (it asked to be left alone for a while) or disabled."""
    reason: str | None
    since: datetime | None
    """Of its failing, or of its being disabled."""
    waiting: int
    dead: int
    """Messages that were given up. Both numbers end at a thousand."""
    created_at: datetime
    created_by: str | None
    old_secret_until: datetime | None
    """Until then the secret before the present one signs, too."""


class SentMessage(NamedTuple):
    """A message for one endpoint, and what came of its last try."""

    id: UUID
    endpoint_id: UUID
    event: str
    job_id: UUID | None
    batch_id: UUID | None
    status: str
    """pending, delivered or dead."""
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


class JobDetails(NamedTuple):
    """All there is to know about one job."""

    job: Row
    queue_position: int | None
    """Jobs before it in its lane, so 0 is next; None if it does not wait in line. At FAR it means that many or more."""
    attempts: list[Row]
    calls: list[Row]
    entries: list[Row]


class Server(NamedTuple):
    """A server and the settings that a session of this role begins with."""

    version: str
    version_number: int
    database: str
    role: str
    replica: bool
    identity: str
    """The same for two addresses of one database."""
    isolation: str
    read_only: bool
    keeps_files: bool
    keeps_commits: bool
    """Whether a commit is on the disk when it is confirmed."""
    autovacuum: bool
    statement_timeout: float
    """0: none."""
    max_connections: int
    connections: int
    oldest_xid: int
    """Transactions since the oldest row that is not frozen."""


class VacuumHolder(NamedTuple):
    """Somebody who keeps vacuum from removing dead rows. What this role may not see is None."""

    kind: str
    """transaction, prepared transaction or replication slot."""
    name: str
    """The process, the transaction's name or the slot's."""
    application: str | None
    role: str | None
    state: str | None
    seconds: float | None
    since: datetime | None
    """When the last query began, or the transaction was prepared."""
    query: str | None
    """How the last query begins, without what stands in quotes."""
    transactions: int | None
    """How many began since."""
    kept_bytes: float | None


class TableHealth(NamedTuple):
    name: str
    live: int
    dead: int
    vacuumed_at: datetime | None
    autovacuum: bool
    bytes: float


class TableRights(NamedTuple):
    """What the current role may do with a table; ``hidden``: row-level security hides rows from it."""

    name: str
    owner: str
    owned: bool
    hidden: bool
    rights: list[str]


class Function(NamedTuple):
    """A function beside our tables; ``definer``: it calls others with the rights of its owner."""

    name: str
    source: str
    definer: bool
    allowed: bool


class SchemaPlace(NamedTuple):
    """Where the current role looks for our tables, and which schemas have some of their name."""

    role: str
    schema: str | None
    search_path: str
    job_table: str | None
    has_revision: bool
    schemas: list[str]
