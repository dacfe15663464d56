"""What the whole fleet follows: prices, the default provider, the pace of the fair order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from generation_worker.db.history import UNKNOWN, Author, record, together
from generation_worker.domain.control import FOLLOWED, LIMIT, may_be_unset, problem_with
from generation_worker.domain.pause import PREFIX
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
