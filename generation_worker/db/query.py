"""Runs the named statements of ``db/sql``, and reads and writes the cursors of lists that are shown in pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import BaseRowFactory, class_row, dict_row

from generation_worker.db.connections import Connections, SingleConnection, read_only
from generation_worker.db.statements import SCHEMA, load_statements
from generation_worker.domain.refusals import InvalidRequest

LONGEST = 200


class Mark(NamedTuple):
    """A row of a list in the order of time, then of ids."""

    at: datetime
    id: UUID


BEGINNING = Mark(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
"""Before the latest row."""


def write_cursor(mark: Mark) -> str:
    """An opaque text for the row with which a page ended."""
    return urlsafe_b64encode(f"{mark.at.isoformat()} {mark.id}".encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> Mark:
    """None is the first page. Raises InvalidRequest for a text that is not a cursor of ours."""
    if text is None:
        return BEGINNING
    try:
        at, _, row = urlsafe_b64decode(text[:LONGEST].encode() + b"==").decode().partition(" ")
        mark = Mark(datetime.fromisoformat(at), UUID(row))
    except ValueError:
        mark = None
    if mark is None or mark.at.tzinfo is None:
        raise _foreign()
    return mark


def write_number_cursor(number: int) -> str:
    return urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def read_number_cursor(text: str | None) -> int | None:
    """None is the first page. Raises InvalidRequest for a text that is not a cursor of ours."""
    if text is None:
        return None
    try:
        digits = urlsafe_b64decode(text[:LONGEST].encode() + b"==").decode("ascii")
    except ValueError:
        digits = ""
    if not digits.isdigit() or len(digits) > 18:
        raise _foreign()
    return int(digits)


def _foreign() -> InvalidRequest:
    return InvalidRequest("cursor: is not one that a page ended with", "Leave it out to begin anew.")


Row = dict[str, Any]
"""A row by the names of its columns, where no type describes it."""

T = TypeVar("T")


class Queries:
    """Runs the statements of ``db/sql`` by their names. Safe to use from many threads if its connections are.

    A module of a subject (``db/credits.py`` …) has functions that take this first. Rows come back as instances of the
    type that describes them, filled by the names of their columns.

    Every method may raise what its connections raise: psycopg.Error, or StoreUnavailable if they are ApiConnections.
    """

    def __init__(self, connections: Connections, *, schema: str = SCHEMA) -> None:
        """``schema`` holds our tables. The connections are in autocommit mode, unless their owner commits."""
        self._connections = connections
        self.schema = schema
        self._statements = load_statements(schema)

    @classmethod
    def on(cls, connection: psycopg.Connection[Any], *, schema: str = SCHEMA) -> Self:
        """On one connection, within the transaction that its owner may have begun."""
        return cls(SingleConnection(connection), schema=schema)

    def all(self, row: type[T], statement: str, **values: Any) -> list[T]:
        """All rows of a statement."""
        return self._fetch(class_row(row), statement, values)

    def one_or_none(self, row: type[T], statement: str, **values: Any) -> T | None:
        """The first row of a statement, if it gives any."""
        found = self._fetch(class_row(row), statement, values)
        return found[0] if found else None

    def one(self, row: type[T], statement: str, **values: Any) -> T:
        """The only row of a statement, which always gives one."""
        [found] = self._fetch(class_row(row), statement, values)
        return found

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """All rows as dictionaries: for what is shown as it is."""
        return self._fetch(dict_row, statement, values)

    def row_or_none(self, statement: str, **values: Any) -> Row | None:
        """The first row as a dictionary, if there is any."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def execute(self, statement: str, **values: Any) -> int:
        """Run a statement whose rows do not matter; how many it gave or changed."""
        with self._connections.connection() as connection:
            return connection.execute(self._statements[statement], values).rowcount

    @contextmanager
    def transaction(self) -> Generator[Self]:
        """All or nothing of what the block runs, on one connection.

        Where the connection's owner commits, that is left to the owner: ``transaction()`` of psycopg alone would commit
        on a connection that is not in autocommit mode and not in a transaction yet.
        """
        with self._connections.connection() as connection:
            together = connection.transaction() if connection.autocommit else nullcontext()
            with together:
                yield type(self)(SingleConnection(connection), schema=self.schema)

    @contextmanager
    def read_only(self, *, seconds: float = 2.0) -> Generator[Self]:
        """For several questions on one connection, of which none takes longer than ``seconds``.

        Raises StoreUnavailable, of which TookTooLong is one.
        """
        with read_only(self._connections, seconds=seconds) as single:
            yield type(self)(single, schema=self.schema)

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any]]:
        """The connection itself, for the few who need it: COPY, LISTEN, server-side cursors."""
        with self._connections.connection() as connection:
            yield connection

    def _fetch(self, factory: BaseRowFactory[T], statement: str, values: dict[str, Any]) -> list[T]:
        with self._connections.connection() as connection, connection.cursor(row_factory=factory) as cursor:
            return cursor.execute(self._statements[statement], values).fetchall()


# How far the questions look.


FAR = 10_000
"""How many rows are counted one by one before an estimate, or "or more", has to do."""
HEAD = 1_000
"""How many rows of each lane are read to find the places of many jobs at once."""
SAMPLE = 50_000
"""How many of the latest final jobs stand for a day."""
LAST_ENTRY = LAST_EVENT = 2**63 - 1
