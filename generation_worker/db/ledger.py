"""The ledger's invariants: finds rows of accounts, jobs, attempts and calls that contradict each other.

Each invariant is a query of ``sql/ledger.sql`` that returns the rows which break it.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import psycopg
from psycopg import IsolationLevel

from generation_worker.db import connections, query, statements

MOST_PER_INVARIANT = 100
"""When one invariant is broken everywhere, its first hundred rows are reported."""


@dataclass(frozen=True, slots=True)
class LedgerViolation:
    """One row that breaks an invariant: the invariant's name, and the row's ids and numbers."""

    invariant: str
    row: Mapping[str, Any]


def find_violations(queries: query.Queries, *, max_paid_calls: int) -> list[LedgerViolation]:
    """Rows that break an invariant, ordered by invariant; at most MOST_PER_INVARIANT of each.

    All queries see one snapshot of the database, and nothing is locked. The connection of ``queries`` must not be in a
    transaction. Raises psycopg.Error.
    """
    with queries.connection() as connection, _snapshot(connection):
        snapshot = query.Queries.on(connection, schema=queries.schema)
        return [
            LedgerViolation(name, row)
            for name in sorted(statements.names_in("ledger"))
            for row in _broken_rows(snapshot, name, max_paid_calls)
        ]


def count_violations(queries: query.Queries, *, max_paid_calls: int, seconds: float) -> dict[str, int | None]:
    """The number of rows that break each invariant, at most MOST_PER_INVARIANT; None if counting takes ``seconds``.

    Each invariant is checked in a transaction of its own, so that no old row version is held back for longer than that.
    Raises StoreUnavailable.
    """
    return {name: _count(queries, name, max_paid_calls, seconds) for name in sorted(statements.names_in("ledger"))}


def explain_invariant(name: str) -> str:
    """What a row that breaks the invariant means and what to do about it. Raises KeyError for an unknown name."""
    lines = statements.statement_sources()[name].splitlines()
    comment = takewhile(lambda line: line.startswith("--"), lines)
    return " ".join(line.removeprefix("--").strip() for line in comment)


def _count(queries: query.Queries, invariant: str, max_paid_calls: int, seconds: float) -> int | None:
    try:
        with queries.read_only(seconds=seconds) as reader:
            return len(_broken_rows(reader, invariant, max_paid_calls))
    except connections.TookTooLong:
        return None


def _broken_rows(queries: query.Queries, invariant: str, max_paid_calls: int) -> list[query.Row]:
    return queries.rows(invariant, max_paid_calls=max_paid_calls, most=MOST_PER_INVARIANT)


@contextmanager
def _snapshot(connection: psycopg.Connection[Any]) -> Generator[None]:
    """A read-only transaction in which all statements see the database as it was at one moment."""
    usual = connection.isolation_level, connection.read_only
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            yield
    finally:
        if not connection.closed:
            connection.isolation_level, connection.read_only = usual
