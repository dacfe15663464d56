"""Asks without getting in anybody's way: on a lent connection, without a change, and not for long."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from generation_worker.db.running import UNAVAILABLE, Connections, Row
from generation_worker.ports import StoreUnavailable

Connection = psycopg.Connection[Row]


class TookTooLong(StoreUnavailable):
    """The question was not answered in its time."""


class Lent:
    """One connection, for whoever asks for one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Generator[Connection]:
        yield self._connection


@contextmanager
def reading(connections: Connections, *, seconds: float) -> Generator[Lent]:
    """A connection in a transaction that only reads, in which no statement takes longer than ``seconds``.

    Raises StoreUnavailable, of which TookTooLong is one.
    """
    begin = f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {round(seconds * 1000)}"
    try:
        with connections.connection() as connection, connection.transaction():
            connection.execute(begin.encode(), prepare=False)
            yield Lent(connection)
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
        raise TookTooLong(f"not answered within {seconds:g} s, or before: {error}") from error
    except UNAVAILABLE as error:
        raise StoreUnavailable(str(error)) from error
