"""Connections: a pool for the statements, and one connection of its own for whoever must not wait for the pool."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

Row = tuple[Any, ...]

PREPARE_AFTER = 2
"""A statement that comes back is planned once for a connection; the hot path has few and long ones."""


def connect(conninfo: str, *, prepare: bool, **kwargs: Any) -> psycopg.Connection[Row]:
    """One connection in autocommit mode. ``prepare=False`` for a pooled address, where prepared statements get lost.

    Raises psycopg.OperationalError.
    """
    return psycopg.connect(conninfo, autocommit=True, prepare_threshold=PREPARE_AFTER if prepare else None, **kwargs)


def open_pool(conninfo: str, *, prepare: bool, size: int, timeout: float = 10.0) -> ConnectionPool[Any]:
    """A pool of at most ``size`` connections; a statement waits ``timeout`` seconds for one of them.

    Every connection is tried before it is lent: one that died with the server costs a reconnect, not a statement.
    """
    return ConnectionPool(
        conninfo,
        kwargs={"autocommit": True, "prepare_threshold": PREPARE_AFTER if prepare else None},
        min_size=1,
        max_size=size,
        timeout=timeout,
        max_idle=120.0,
        max_lifetime=1800.0,
        check=ConnectionPool.check_connection,
        open=True,
        name="generation-worker",
    )


class OwnConnection:
    """Lends one connection again and again, and opens it anew when it broke. For one thread."""

    def __init__(self, conninfo: str, *, prepare: bool) -> None:
        self._conninfo = conninfo
        self._prepare = prepare
        self._connection: psycopg.Connection[Row] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._conninfo, prepare=self._prepare)
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
