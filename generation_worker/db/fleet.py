"""The fleet: workers, gates of provider keys, lanes, pauses, settings that change while workers run, maintenance tasks.

Durations are in seconds. Each list is bounded: a queue of a million jobs is read as quickly as one of ten thousand.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from generation_worker.db.audit_trail import UNKNOWN, Author, record_change
from generation_worker.db.jobs import JobCount
from generation_worker.db.query import FAR, Queries
from generation_worker.domain.fleet import FOLLOWED, LIMIT, PREFIX, Extent, FleetSetting, may_be_unset, problem_with
from generation_worker.domain.job import NO_PROVIDER, Status
from generation_worker.domain.payload import KINDS
from generation_worker.domain.refusals import InvalidRequest

SETTINGS = (
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
"""The patterns of the names that ``set_setting`` accepts."""
HIGHEST_PRICE = 1_000_000_000
HIGHEST_SECONDS_PER_CREDIT = 86_400
PARK_BATCH = 2000
"""How many jobs of each lane are examined together, and parked if they are paused."""


class WorkerProcess(NamedTuple):
    """A worker that sent a heartbeat within the last day."""

    id: str
    state: str
    """silent (no heartbeat for two minutes), stuck, busy, asleep or idle."""
    busy: int
    stuck: int
    concurrency: int
    providers: list[str]
    version: str
    started_at: datetime
    seen_at: datetime
    seen_seconds: float


class Gate(NamedTuple):
    """The state of one key of a provider, for the whole fleet."""

    key_label: str
    provider: str
    calls_per_minute: int
    used: int
    """Calls of the last minute."""
    state: str
    """ok, limited (the provider answered 429), open (the breaker is), or probing (one job tests the provider)."""
    reason: str | None
    seconds: float
    """Until the next try."""
    opened_at: datetime | None
    failures: int
    """Consecutive calls that failed."""
    workers: int
    """Living workers that have the key."""
    until: datetime | None = None
    """When the next try is, or was; None if nothing has closed the gate yet."""
    given_per_minute: int | None = None
    """The limit that the last worker was started with; None if no worker had one."""
    holders: Sequence[str] = ()
    """The ids of the living workers that have the key, at most 100."""


class Lane(NamedTuple):
    """The jobs that wait for one provider. A number that equals ``cap`` means that many or more."""

    provider: str
    pending: int
    """Ready to be claimed."""
    parked: int
    """Out of the claims' way, because their user or kind is paused."""
    scheduled: int
    rate_limited: int
    cap: int


class LaneFront(NamedTuple):
    """The job of one lane that has been due for longest, among the first in its order."""

    provider: str
    id: UUID
    user_id: str
    kind: str
    since: datetime
    seconds: float
    workers: int
    """Living workers that serve this lane; with 0 none of its jobs starts."""


class NextDue(NamedTuple):
    id: UUID
    status: Status
    run_at: datetime
    seconds: float
    """From now; below zero if the job is due and not yet promoted."""


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
    """Until the lease expires; below zero if it has expired, and no worker has reclaimed the job yet."""
    cancel_requested: bool


class MaintenanceTask(NamedTuple):
    name: str
    seconds: float | None
    """Since the last run that succeeded; None if there was none."""
    last_error: str | None
    """Of the last run; None if it succeeded."""
    found: dict[str, Any] | None
    """Findings of the last run; None for a task that has none."""
    overdue: float = 0.0
    """Since it is due; 0 if it is not. In a fleet that works it stays below the interval of maintenance."""


class Pause(NamedTuple):
    """An extent of which no worker starts a job. ``name`` is its setting, such as ``paused.provider.gemini``."""

    name: str
    reason: str | None
    since: datetime
    by: str | None


class SettingValue(NamedTuple):
    """The value of a setting, from JSON."""

    value: Any


# Reading.


def list_workers(queries: Queries, *, limit: int = 100) -> list[WorkerProcess]:
    """The workers of the last day, in the order of their start."""
    return queries.all(WorkerProcess, "workers", limit=limit)


def list_gates(queries: Queries, *, limit: int = 100) -> list[Gate]:
    """The gates of all keys, by provider."""
    return queries.all(Gate, "gates", limit=limit)


def list_lanes(queries: Queries, *, cap: int = FAR) -> list[Lane]:
    """How many jobs wait for each provider, and why."""
    return queries.all(Lane, "lanes", cap=cap)


def list_lane_fronts(queries: Queries, *, cap: int = FAR) -> list[LaneFront]:
    """The longest wait in each lane that has jobs, the longest first."""
    return queries.all(LaneFront, "oldest_waiting", cap=cap)


def count_jobs_by_status(queries: Queries, *, cap: int = FAR) -> list[JobCount]:
    """The number of jobs in each status, in the order of a job's life; estimates beyond ``cap``."""
    return queries.all(JobCount, "count_jobs", cap=cap)


def find_next_due(queries: Queries) -> NextDue | None:
    """The job that waits for its time and is due first."""
    return queries.one_or_none(NextDue, "next_due")


def list_processing_jobs(queries: Queries, *, limit: int = 100) -> list[ProcessingJob]:
    """The running jobs, the longest first."""
    return queries.all(ProcessingJob, "processing_jobs", limit=limit)


def list_maintenance_tasks(queries: Queries) -> list[MaintenanceTask]:
    """All tasks of maintenance, by name."""
    return queries.all(MaintenanceTask, "maintenance")


def list_settings(queries: Queries) -> list[FleetSetting]:
    """All settings of the fleet, pauses included, by name."""
    return queries.all(FleetSetting, "fleet_settings")


def list_pauses(queries: Queries) -> list[Pause]:
    """Everything that is paused, since when, by whom and why."""
    return queries.all(Pause, "pauses")


def pauses_of_job(queries: Queries, job_id: UUID | str) -> list[Pause]:
    """The pauses that keep a job from starting, whatever its status is."""
    return queries.all(Pause, "job_pauses", id=job_id)


# Settings that change while workers run.


def set_setting(queries: Queries, name: str, value: Any, *, by: Author = UNKNOWN) -> Any:
    """Set one of SETTINGS for the whole fleet; returns the value that was written.

    Prices and the default provider apply from the next enqueue on, limits of gates at once, what workers follow within
    a heartbeat. ``value`` may be a text, as from a command line. Raises InvalidRequest, which names the setting.
    """
    with queries.transaction() as together:
        checked = _checked(name, _parse(value), _offered_providers(together))
        _check_limited_key(together, name)
        before = _lock_setting(together, name)
        together.execute("write_setting", name=name, value=json.dumps(checked), by=by.actor)
        _apply_setting(together, name)
        was = before and before.value
        record_change(together, by, "setting.set", f"setting:{name}", before=was, after=checked)
    return checked


def unset_setting(queries: Queries, name: str, *, by: Author = UNKNOWN) -> Any:
    """Remove a setting, so that its default applies again; returns the old value, None if it was not set.

    Raises InvalidRequest for a setting without a default.
    """
    if not may_be_unset(name):
        there_are = ", ".join(["price.KIND.PROVIDER", *FOLLOWED, f"{LIMIT}.PROVIDER", f"{LIMIT}.KEY"])
        raise InvalidRequest(f"{name}: has no default; set it instead", f"Settings with a default: {there_are}.")
    with queries.transaction() as together:
        before = _lock_setting(together, name)
        if before is None:
            return None
        together.execute("unset_setting", name=name)
        _apply_setting(together, name)
        record_change(together, by, "setting.unset", f"setting:{name}", before=before.value)
    return before.value


def change_settings(queries: Queries, changes: Mapping[str, Any], *, by: Author = UNKNOWN) -> None:
    """Set each of ``changes``, or unset it where the value is None: all of them or none.

    Raises InvalidRequest as ``set_setting`` and ``unset_setting`` do.
    """
    with queries.transaction() as together:
        for name, value in sorted(changes.items()):  # in one order, so that two callers cannot deadlock
            if value is None:
                unset_setting(together, name, by=by)
            else:
                set_setting(together, name, value, by=by)


def wake_workers(queries: Queries) -> None:
    """Make every worker poll now: at once where LISTEN works, at the next heartbeat elsewhere."""
    queries.execute("wake_workers")


# Pauses. A pause applies from its commit on, because every claim reads it. Running jobs continue; jobs may be enqueued,
# and wait.


def pause(queries: Queries, extent: Extent, *, by: Author) -> bool:
    """Keep all workers from starting jobs in ``extent``; returns whether it was not paused before.

    A second pause keeps the first one's beginning and replaces its reason. Call ``park_paused_jobs`` afterwards.
    Raises InvalidRequest.
    """
    with queries.transaction() as together:
        _check_extent(together, extent)
        before = _lock_setting(together, extent.setting)
        after = {"reason": by.reason}
        together.execute("write_pause", name=extent.setting, value=json.dumps(after), by=by.actor)
        was = before and before.value
        record_change(together, by, "pause", f"setting:{extent.setting}", before=was, after=after)
        together.execute("send_messages", messages=["control"])
    return before is None


def resume(queries: Queries, extent: Extent, *, by: Author) -> bool:
    """Let workers start jobs in ``extent`` again, unless another pause covers them; returns whether it was paused.

    Call ``park_paused_jobs`` afterwards: maintenance does the same, but later.
    """
    with queries.transaction() as together:
        before = _lock_setting(together, extent.setting)
        if before is None:
            return False
        together.execute("unset_setting", name=extent.setting)
        record_change(together, by, "resume", f"setting:{extent.setting}", before=before.value)
        together.execute("send_messages", messages=["control", "wake"])
    return True


def park_paused_jobs(queries: Queries) -> Iterator[int]:
    """Move paused jobs out of the claims' way, and jobs that are no longer paused back; yields how many per batch.

    Needs connections in autocommit mode. Correctness does not depend on it, only how many rows a claim reads.
    """
    for statement, enough in (("park_paused_jobs", PARK_BATCH // 2), ("unpark_jobs", 1)):
        while True:
            moved = queries.execute(statement, limit=PARK_BATCH)
            yield moved
            if moved < enough:
                break
    queries.execute("send_messages", messages=["wake"])


# Checks.


def _lock_setting(queries: Queries, name: str) -> SettingValue | None:
    return queries.one_or_none(SettingValue, "lock_setting", name=name)


def _apply_setting(queries: Queries, name: str) -> None:
    """Gates change in this transaction, for every worker; workers read other settings when they get the message."""
    head, _, key = name.partition(".")
    if head == LIMIT:
        queries.execute("limit_gates", name=key)
    queries.execute("send_messages", messages=["control"])


def _offered_providers(queries: Queries) -> tuple[str, ...]:
    found = queries.one_or_none(SettingValue, "offered_providers")
    return tuple(found.value) if found else ()


def _check_extent(queries: Queries, extent: Extent) -> None:
    if extent.what == "kind" and extent.name not in KINDS:
        raise InvalidRequest(f"kind: {extent.name!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if extent.what == "user" and not 1 <= len(extent.name) <= 255:
        raise InvalidRequest("user: must have 1 to 255 characters")
    if extent.what == "provider":
        offered = [*_offered_providers(queries), NO_PROVIDER]
        if extent.name not in offered:
            raise InvalidRequest(f"provider: no worker offers {extent.name!r}", f"Offered are {', '.join(offered)}.")


def _check_limited_key(queries: Queries, name: str) -> None:
    head, _, key = name.partition(".")
    if head == LIMIT and queries.row_or_none("gate_is_known", name=key) is None:
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
    raise InvalidRequest(f"{name}: is not a setting of the fleet", f"There are {', '.join(SETTINGS)}.")


def _price(name: str, rest: list[str], value: Any, offered: tuple[str, ...]) -> int:
    kind, *provider = rest
    if kind not in KINDS:
        raise InvalidRequest(f"{name}: {kind!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if provider:
        _provider(name, ".".join(provider), ("none",) if kind == "image_processing" else offered)
    return _credits(name, value)


def _credits(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= HIGHEST_PRICE:
        raise InvalidRequest(f"{name}: must be a whole number of credits, from 0 to {HIGHEST_PRICE}")
    return value


def _seconds(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= HIGHEST_SECONDS_PER_CREDIT:
        raise InvalidRequest(
            f"seconds_per_credit: must be a number of seconds above 0, up to {HIGHEST_SECONDS_PER_CREDIT}"
        )
    return value


def _provider(name: str, value: Any, offered: tuple[str, ...]) -> str:
    if value not in offered:
        remedy = f"Offered are {', '.join(offered)}." if offered else "Start a worker once, or migrate, to offer some."
        raise InvalidRequest(f"{name}: no worker offers {value!r}", remedy)
    return value


def _parse(value: Any) -> Any:
    """A text as a value: numbers and true or false as in JSON, other words unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
