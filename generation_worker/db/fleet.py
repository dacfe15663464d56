"""What the whole fleet follows: prices, the default provider, the pace of the fair order."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from generation_worker.db.audit_trail import UNKNOWN, Author, Pause, record, together
from generation_worker.db.connections import SingleConnection
from generation_worker.db.query import FAR, Asking, only
from generation_worker.db.statements import load_statements
from generation_worker.domain.fleet import FOLLOWED, LIMIT, PREFIX, Extent, may_be_unset, problem_with
from generation_worker.domain.job import NO_PROVIDER, Status
from generation_worker.domain.payload import KINDS
from generation_worker.domain.refusals import InvalidRequest

Connection = psycopg.Connection[Any]

NAMES = (
    "price.KIND",
    "price.KIND.PROVIDER",
    "seconds_per_credit",
    "credits_low",
    "caller_may_set_cost",
    "default_provider",
    "concurrency",
    "poll_interval",
    "calls_per_minute.PROVIDER",
    "calls_per_minute.KEY",
)
HIGHEST_PRICE = 1_000_000_000
LONGEST = 86_400

WRITE = """
INSERT INTO fleet_setting (name, value, updated_by) VALUES (%s, %s::jsonb, %s)
ON CONFLICT (name) DO UPDATE
   SET value = excluded.value, updated_at = clock_timestamp(), updated_by = excluded.updated_by
"""
OFFERED = "SELECT value FROM fleet_setting WHERE name = 'providers'"
UNSET = "DELETE FROM fleet_setting WHERE name = %s"
KNOWN_TO_GATES = "SELECT FROM provider_gate WHERE %(name)s IN (key_label, provider) LIMIT 1"
# The gates are locked in the order of their names, as everywhere.
LIMIT_GATES = """
WITH gate AS MATERIALIZED (
  SELECT key_label, gate_limit(key_label, provider, coalesce(given_per_minute, calls_per_minute)) AS calls
    FROM provider_gate WHERE %(name)s IN (key_label, provider) ORDER BY key_label FOR NO KEY UPDATE
)
UPDATE provider_gate g SET calls_per_minute = gate.calls, limited_since = clock_timestamp()
  FROM gate WHERE g.key_label = gate.key_label AND g.calls_per_minute <> gate.calls
"""
HINT = "SELECT pg_notify('generation_worker', 'control')"
LOCKED = "SELECT value FROM fleet_setting WHERE name = %s FOR NO KEY UPDATE"


def set_fleet_setting(connection: Connection, name: str, value: Any, *, by: Author = UNKNOWN) -> Any:
    """Set one of NAMES for the whole fleet; returns the value as it is kept.

    What concerns enqueueing holds from the next enqueue on; what workers follow, within a heartbeat.

    ``value`` may be a text, as from a command line. What it was before stands in the audit trail. Raises
    InvalidRequest, which names the setting.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(OFFERED).fetchone()
        checked = _checked(name, _read(value), tuple(row[0]) if row else ())
        _check_key(cursor, name)
        before = cursor.execute(LOCKED, (name,)).fetchone()
        cursor.execute(WRITE, (name, json.dumps(checked), by.actor))
        _tell(cursor, name)
        record(connection, by, "setting.set", f"setting:{name}", before=before and before[0], after=checked)
    return checked


def change_fleet_settings(connection: Connection, changes: Mapping[str, Any], *, by: Author = UNKNOWN) -> None:
    """Set each of ``changes``, or take it back where the value is None: all of them or none.

    Raises InvalidRequest as ``set_fleet_setting`` and ``unset_fleet_setting`` do.
    """
    with together(connection):
        for name, value in sorted(changes.items()):  # in one order, so that two who change several wait in turn
            if value is None:
                unset_fleet_setting(connection, name, by=by)
            else:
                set_fleet_setting(connection, name, value, by=by)


def unset_fleet_setting(connection: Connection, name: str, *, by: Author = UNKNOWN) -> Any:
    """Take a setting back, so that what stands behind it holds again; returns what it was, None if it was not set.

    Raises InvalidRequest for one without which there would be nothing.
    """
    if not may_be_unset(name):
        there_are = ", ".join(["price.KIND.PROVIDER", *FOLLOWED, f"{LIMIT}.PROVIDER", f"{LIMIT}.KEY"])
        raise InvalidRequest(f"{name}: nothing stands behind it; set it instead", f"To unset there are {there_are}.")
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        before = cursor.execute(LOCKED, (name,)).fetchone()
        if before is None:
            return None
        cursor.execute(UNSET, (name,))
        _tell(cursor, name)
        record(connection, by, "setting.unset", f"setting:{name}", before=before[0])
    return before[0]


def _tell(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Gates are changed here and now, for every worker; what else workers follow they hear of."""
    head, _, key = name.partition(".")
    if head == LIMIT:
        cursor.execute(LIMIT_GATES, {"name": key})
    cursor.execute(HINT)


def _check_key(cursor: psycopg.Cursor[Any], name: str) -> None:
    head, _, key = name.partition(".")
    if head == LIMIT and cursor.execute(KNOWN_TO_GATES, {"name": key}).fetchone() is None:
        raise InvalidRequest(
            f"{name}: there is no key called {key!r} and no provider of that name with a limit",
            "See generation-worker status for the keys; a key is known once a worker has started with it.",
        )


def _checked(name: str, value: Any, offered: tuple[str, ...]) -> Any:
    head, *rest = name.split(".")
    if head == "price" and rest:
        return _price(name, rest, value, offered)
    if name == "seconds_per_credit":
        return _seconds(value)
    if name == "credits_low":
        return _credits(name, value)
    if name == "caller_may_set_cost":
        if isinstance(value, bool):
            return value
        raise InvalidRequest(f"{name}: must be true or false")
    if name == "default_provider":
        return _provider(name, value, offered)
    if name in FOLLOWED or (head == LIMIT and any(rest)):
        if problem := problem_with(name, value):
            raise InvalidRequest(f"{name}: {problem}")
        return value
    if head == PREFIX:
        raise InvalidRequest(f"{name}: is not set like this", "Use generation-worker pause and resume.")
    raise InvalidRequest(f"{name}: is not a setting of the fleet", f"There are {', '.join(NAMES)}.")


def _price(name: str, rest: list[str], value: Any, offered: tuple[str, ...]) -> int:
    kind, *provider = rest
    if kind not in KINDS:
        raise InvalidRequest(f"{name}: {kind!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if provider:
        _provider(name, ".".join(provider), ("none",) if kind == "image_processing" else offered)
    return _credits(name, value)


def _credits(name: str, value: Any) -> int:
    if not _is_whole(value) or not 0 <= value <= HIGHEST_PRICE:
        raise InvalidRequest(f"{name}: must be a whole number of credits, from 0 to {HIGHEST_PRICE}")
    return value


def _seconds(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= LONGEST:
        raise InvalidRequest(f"seconds_per_credit: must be a number of seconds above 0, up to {LONGEST}")
    return value


def _provider(name: str, value: Any, offered: tuple[str, ...]) -> str:
    if value not in offered:
        remedy = f"Offered are {', '.join(offered)}." if offered else "Start a worker once, or migrate, to offer some."
        raise InvalidRequest(f"{name}: no worker offers {value!r}", remedy)
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read(value: Any) -> Any:
    """What a text means: numbers and true or false as in JSON, other words as they stand."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


# Answers about the fleet. Spans are in seconds.


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
    until: datetime | None = None
    """When it is tried again, or was; None if nothing has closed it yet."""
    given_per_minute: int | None = None
    """The limit that workers were started with; None if none has said."""
    holders: Sequence[str] = ()
    """The ids of the living workers that hold the key, at most 100."""


class MaintenanceTask(NamedTuple):
    name: str
    seconds: float | None
    """Since it was done to its end; None if it never was."""
    last_error: str | None
    """Of the last run; None if that went well."""
    found: dict[str, Any] | None
    """What it keeps for others; None if it keeps nothing."""
    overdue: float = 0.0
    """For how long it has been due; 0 if it is not. A fleet that works keeps that below the interval of its looks."""


# Answers about the queue. Spans are in seconds.


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


# Questions about the fleet.


class FleetInsights(Asking):
    def workers(self, *, limit: int = 100) -> list[Worker]:
        return self._ask(Worker, "workers", limit=limit)

    def gates(self, *, limit: int = 100) -> list[Gate]:
        """The gates of all keys, by provider."""
        return self._ask(Gate, "gates", limit=limit)

    def maintenance(self) -> list[MaintenanceTask]:
        return self._ask(MaintenanceTask, "maintenance")

    def oldest_snapshot(self) -> float:
        """Seconds for which the oldest transaction has been looking at old rows; as far as the role may see."""
        return self._rows("oldest_snapshot")[0]["seconds"]


# Questions about the queue.


class QueueInsights(Asking):
    def count_jobs(self, *, cap: int = FAR) -> list[JobCount]:
        """The jobs in each state, in the order of a job's life; estimates beyond ``cap``."""
        return self._ask(JobCount, "count_jobs", cap=cap)

    def oldest_waiting(self, *, cap: int = FAR) -> list[LaneFront]:
        """The longest wait in each lane that has jobs, the longest first."""
        return self._ask(LaneFront, "oldest_waiting", cap=cap)

    def lanes(self, *, cap: int = FAR) -> list[Lane]:
        """What waits for each provider, and why."""
        return self._ask(Lane, "lanes", cap=cap)

    def next_due(self) -> NextDue | None:
        return only(self._ask(NextDue, "next_due"))

    def processing_jobs(self, *, limit: int = 100) -> list[ProcessingJob]:
        """What runs now, the longest first."""
        return self._ask(ProcessingJob, "processing_jobs", limit=limit)


# Pausing and resuming everything, one provider, one kind or one user.
#
# A pause holds from its commit on: every claim asks for it. What runs goes on. Jobs may be enqueued meanwhile, and
# wait.


BATCH = 2000
"""How many jobs of each lane are looked at together, and put aside if they are paused."""

FOUND = "SELECT value FROM fleet_setting WHERE name = %s FOR NO KEY UPDATE"
PAUSE = """
INSERT INTO fleet_setting (name, value, updated_by) VALUES (%s, %s::jsonb, %s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_by = excluded.updated_by
"""
RESUME = "DELETE FROM fleet_setting WHERE name = %s"
PAUSE_HINT = "SELECT pg_notify('generation_worker', hint) FROM unnest(%s::text[]) AS hint"


def pause(connection: Connection, extent: Extent, *, by: Author) -> bool:
    """Let no worker start anything in ``extent`` any more; whether that is news.

    Paused again, it keeps its beginning and takes on the reason. Then call ``put_aside``. Raises InvalidRequest.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        _check(cursor, extent)
        before = cursor.execute(FOUND, (extent.setting,)).fetchone()
        after = {"reason": by.reason}
        cursor.execute(PAUSE, (extent.setting, json.dumps(after), by.actor))
        record(connection, by, "pause", f"setting:{extent.setting}", before=before and before[0], after=after)
        cursor.execute(PAUSE_HINT, (["control"],))
    return before is None


def resume(connection: Connection, extent: Extent, *, by: Author) -> bool:
    """Let workers start what is in ``extent`` again, unless another pause holds it; whether it was paused.

    Then call ``put_aside``: maintenance does it too, but later.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        before = cursor.execute(FOUND, (extent.setting,)).fetchone()
        if before is None:
            return False
        cursor.execute(RESUME, (extent.setting,))
        record(connection, by, "resume", f"setting:{extent.setting}", before=before[0])
        cursor.execute(PAUSE_HINT, (["control", "wake"],))
    return True


def put_aside(connection: Connection) -> Iterator[int]:
    """Move what is paused out of the claims' way, and what is not any more back, a batch at a time; how many each time.

    Needs a connection in autocommit mode. Nothing depends on it but how much a claim reads.
    """
    statements = load_statements()
    for statement, enough in ((statements["park_paused_jobs"], BATCH // 2), (statements["unpark_jobs"], 1)):
        while True:
            moved = connection.execute(statement, {"limit": BATCH}).rowcount
            yield moved
            if moved < enough:
                break
    connection.execute(PAUSE_HINT, (["wake"],))


def pauses_of(connection: Connection, job_id: Any) -> list[Pause]:
    """What keeps this job waiting, whether it waits already or not."""
    from generation_worker.db.jobs import JobInsights  # noqa: PLC0415 - jobs import this

    return JobInsights(SingleConnection(connection)).job_pauses(job_id)


def _check(cursor: psycopg.Cursor[Any], extent: Extent) -> None:
    if extent.what == "kind" and extent.name not in KINDS:
        raise InvalidRequest(f"kind: {extent.name!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if extent.what == "user" and not 1 <= len(extent.name) <= 255:
        raise InvalidRequest("user: must have 1 to 255 characters")
    if extent.what == "provider":
        row = cursor.execute(OFFERED).fetchone()
        offered = [*(row[0] if row else ()), NO_PROVIDER]
        if extent.name not in offered:
            raise InvalidRequest(f"provider: no worker offers {extent.name!r}", f"Offered are {', '.join(offered)}.")
