"""Connections: a pool for the statements, and one connection of its own for whoever must not wait for the pool."""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from generation_worker.db.limits import Limits

Row = tuple[Any, ...]

PREPARE_AFTER = 2
"""A statement that comes back is parsed once for a connection; the hot path has few and long ones."""
PLAN_EACH_TIME = b"SET plan_cache_mode = force_custom_plan"
"""Parsed once, but planned for what the tables hold now, which costs a third of a millisecond. A plan that was made
while they were empty would go through them row by row when a hundred thousand jobs have come in since."""
TRUSTED_FOR = 1.0
"""Seconds after which a connection is asked whether it lives before it is lent again."""


class PooledConnection(psycopg.Connection[Row]):
    """Remembers when it was lent the last time."""

    lent_at = -math.inf


def connect(conninfo: str, *, prepare: bool, limits: Limits | None = None, **kwargs: Any) -> psycopg.Connection[Row]:
    """One connection in autocommit mode.

    ``prepare=False`` and no ``limits`` for a pooled address: there, a session's state gets lost or meets others.
    Raises psycopg.OperationalError.
    """
    connection = psycopg.connect(
        conninfo, autocommit=True, prepare_threshold=PREPARE_AFTER if prepare else None, **kwargs
    )
    _settle_in(connection, _first_words(prepare, limits))
    return connection


def _first_words(prepare: bool, limits: Limits | None) -> bytes:
    """What is said first in a session of our own. Behind a pooler, where nothing is prepared, everything is planned
    each time anyway.
    """
    return b"; ".join([*([PLAN_EACH_TIME] if prepare else []), *([limits.for_session()] if limits else [])])


def _settle_in(connection: psycopg.Connection[Any], words: bytes) -> None:
    if not words:
        return
    try:
        connection.execute(words)
    except BaseException:
        connection.close()
        raise


def open_pool(
    conninfo: str, *, prepare: bool, size: int, timeout: float = 10.0, limits: Limits | None = None
) -> ConnectionPool[Any]:
    """A pool of at most ``size`` connections, as ``connect`` makes them; a statement waits ``timeout`` seconds for one.

    A connection is tried before it is lent: one that died with the server costs a reconnect, not a statement.
    """
    words = _first_words(prepare, limits)
    return ConnectionPool(
        conninfo,
        connection_class=PooledConnection,
        kwargs={"autocommit": True, "prepare_threshold": PREPARE_AFTER if prepare else None},
        min_size=1,
        max_size=size,
        timeout=timeout,
        max_idle=120.0,
        max_lifetime=1800.0,
        configure=lambda connection: _settle_in(connection, words),
        check=try_out,
        open=True,
        name="generation-worker",
    )


def try_out(connection: PooledConnection) -> None:
    """Raise psycopg's error if the connection is dead. A busy one is not asked each time: that would
    be one more round trip for every statement. A server that goes away says so, and what it said is there to be read.
    """
    now = time.monotonic()
    if now - connection.lent_at > TRUSTED_FOR or _was_told_something(connection):
        ConnectionPool.check_connection(connection)
    connection.lent_at = now


def _was_told_something(connection: PooledConnection) -> bool:
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


class OwnConnection:
    """Lends one connection again and again, and opens it anew when it broke. For one thread."""

    def __init__(self, conninfo: str, *, prepare: bool, limits: Limits | None = None) -> None:
        self._conninfo = conninfo
        self._prepare = prepare
        self._limits = limits
        self._connection: psycopg.Connection[Row] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._conninfo, prepare=self._prepare, limits=self._limits)
            try:
                yield self._connection
            except psycopg.Error:
                if self._connection.broken:
                    self.close()
                raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
