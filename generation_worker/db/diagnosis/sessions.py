"""Sessions that change nothing, each for one check at a time: a check that hangs keeps its own."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from generation_worker.db.pool import Row, connect

BOUND = "SET LOCAL statement_timeout = '10s'"
"""Nobody waits longer for an answer, and the server must not go on with the question."""


class Sessions:
    """Lends connections to one address, in a transaction that may only read. They work through any pooler."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: list[psycopg.Connection[Row]] = []
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        """Raises psycopg.OperationalError if there is none to be had."""
        connection = self._take()
        try:
            with connection.transaction():
                connection.execute(BOUND)
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> psycopg.Connection[Row]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection = connect(self._conninfo, prepare=False)
        connection.read_only = True
        return connection
