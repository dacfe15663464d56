"""Asks of the database what must hold at any moment, all in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from generation_worker.db.connections import Connections, TookTooLong, read_only
from generation_worker.db.statements import load_statements, names_in

MOST_PER_INVARIANT = 100
"""When one thing is broken everywhere, the first hundred say so."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One row for which an invariant does not hold: the invariant's name, and the offender with its numbers."""

    invariant: str
    row: Mapping[str, Any]


def audit(connection: Connection[Any], *, max_paid_calls: int) -> list[Violation]:
    """What does not hold, ordered by invariant; at most MOST_PER_INVARIANT rows of each.

    ``connection`` must not be in a transaction. It may be in use by nobody else, but the database may be: everything is
    seen as it was at one moment, and nothing is locked. Raises psycopg's errors.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return [
            Violation(name, row)
            for name, query in ((name, load_statements()[name]) for name in sorted(names_in("ledger")))
            for row in _ask(connection, query, max_paid_calls)
        ]


def count_violations(connections: Connections, *, max_paid_calls: int, seconds: float) -> dict[str, int | None]:
    """How many rows break each invariant, at most MOST_PER_INVARIANT; None where that takes longer than ``seconds``.

    Each is asked in a transaction of its own, so that no old row is held back for longer than that. Raises
    StoreUnavailable.
    """
    return {
        name: _count(connections, query, max_paid_calls, seconds)
        for name, query in ((name, load_statements()[name]) for name in sorted(names_in("ledger")))
    }


def _count(connections: Connections, query: bytes, max_paid_calls: int, seconds: float) -> int | None:
    try:
        with read_only(connections, seconds=seconds) as lent, lent.connection() as connection:
            return len(_ask(connection, query, max_paid_calls))
    except TookTooLong:
        return None


def meaning(invariant: str) -> str:
    """What a row of the invariant means and what to do about it. Raises KeyError if there is no such invariant."""
    text = load_statements()[invariant].decode()
    comment = [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]
    return " ".join(comment)


def _ask(connection: Connection[Any], query: bytes, max_paid_calls: int) -> list[dict[str, Any]]:
    bounded = b"SELECT * FROM (" + query + b"\n) AS broken LIMIT %(most)s"
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(bounded, {"max_paid_calls": max_paid_calls, "most": MOST_PER_INVARIANT}).fetchall()
