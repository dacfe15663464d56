"""What the whole fleet follows: prices, the default provider, the pace of the fair order."""

from __future__ import annotations

import json
import math
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from generation_worker.db.history import UNKNOWN, Author, record, together
from generation_worker.domain.payload import KINDS
from generation_worker.domain.refusals import InvalidRequest

Connection = psycopg.Connection[Any]

NAMES = ("price.KIND", "price.KIND.PROVIDER", "seconds_per_credit", "caller_may_set_cost", "default_provider")
HIGHEST_PRICE = 1_000_000_000
LONGEST = 86_400

WRITE = """
INSERT INTO fleet_setting (name, value, updated_by) VALUES (%s, %s::jsonb, %s)
ON CONFLICT (name) DO UPDATE
   SET value = excluded.value, updated_at = clock_timestamp(), updated_by = excluded.updated_by
"""
OFFERED = "SELECT value FROM fleet_setting WHERE name = 'providers'"
LOCKED = "SELECT value FROM fleet_setting WHERE name = %s FOR NO KEY UPDATE"


def set_fleet_setting(connection: Connection, name: str, value: Any, *, by: Author = UNKNOWN) -> Any:
    """Set one of NAMES for the whole fleet, from the next enqueue on; returns the value as it is kept.

    ``value`` may be a text, as from a command line. What it was before stands in the audit trail. Raises
    InvalidRequest, which names the setting.
    """
    with together(connection), connection.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(OFFERED).fetchone()
        checked = _checked(name, _read(value), tuple(row[0]) if row else ())
        before = cursor.execute(LOCKED, (name,)).fetchone()
        cursor.execute(WRITE, (name, json.dumps(checked), by.actor))
        record(connection, by, "setting.set", f"setting:{name}", before=before and before[0], after=checked)
    return checked


def _checked(name: str, value: Any, offered: tuple[str, ...]) -> Any:
    head, *rest = name.split(".")
    if head == "price" and rest:
        return _price(name, rest, value, offered)
    if name == "seconds_per_credit":
        return _seconds(value)
    if name == "caller_may_set_cost":
        if isinstance(value, bool):
            return value
        raise InvalidRequest(f"{name}: must be true or false")
    if name == "default_provider":
        return _provider(name, value, offered)
    raise InvalidRequest(f"{name}: is not a setting of the fleet", f"There are {', '.join(NAMES)}.")


def _price(name: str, rest: list[str], value: Any, offered: tuple[str, ...]) -> int:
    kind, *provider = rest
    if kind not in KINDS:
        raise InvalidRequest(f"{name}: {kind!r} is not a kind of job", f"There are {', '.join(KINDS)}.")
    if provider:
        _provider(name, ".".join(provider), ("none",) if kind == "image_processing" else offered)
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
