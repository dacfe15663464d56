"""Connections for the HTTP API: a few of its own, and none that anybody waits for long."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool

from generation_worker.db.limits import Limits
from generation_worker.db.pool import PLAN_EACH_TIME, PREPARE_AFTER, PooledConnection, try_out
from generation_worker.db.running import UNAVAILABLE
from generation_worker.ports import StoreUnavailable

RV = TypeVar("RV")
Row = tuple[Any, ...]

APPLICATION = "generation-worker api"
CONNECTIONS = 4
QUEUE = 40
"""How many requests may wait for one of them; the next one is told to come again."""
LENT_WITHIN = 3.0
"""Seconds to wait for a connection."""
DONE_WITHIN = 5.0
"""Seconds from then on: for all statements together, whatever the server or the network does."""
BEGINNING = b"; ".join([PLAN_EACH_TIME, Limits(lock=2.0, statement=4.0, idle=10.0).for_session()])
"""For a session of our own. Behind a pooler, which may give it to others, our own clock is the only limit."""


class DeskConnection(PooledConnection):
    """Gives up on a server that says nothing, which no limit of the server's could do."""

    deadline = math.inf

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        left = self.deadline - time.monotonic() if timeout is None else timeout
        try:
            return super().wait(gen, interval, None if left == math.inf else max(0.0, left))
        except errors._WaitTimeout:  # pyright: ignore[reportPrivateUsage] # there is no other name for it
            self.close()
            raise psycopg.OperationalError(f"no answer within {DONE_WITHIN:g} s") from None


def open_desk_pool(conninfo: str, *, prepare: bool) -> ConnectionPool[DeskConnection]:
    """Connects when it is first needed: as long as nobody calls, a serverless database may sleep."""
    return ConnectionPool(
        conninfo,
        connection_class=DeskConnection,
        kwargs={
            "autocommit": True,
            "prepare_threshold": PREPARE_AFTER if prepare else None,
            "connect_timeout": 3,
            "application_name": APPLICATION,
        },
        min_size=0,
        max_size=CONNECTIONS,
        max_waiting=QUEUE,
        timeout=LENT_WITHIN,
        max_idle=60.0,
        configure=_begin if prepare else None,
        check=_try_out,
        open=True,
        name="generation-worker-api",
    )


class DeskConnections:
    """Lends the pool's connections; what keeps the database from answering is raised as StoreUnavailable."""

    def __init__(self, pool: ConnectionPool[DeskConnection]) -> None:
        self._pool = pool

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Row]]:
        try:
            with self._pool.connection() as connection:
                connection.deadline = time.monotonic() + DONE_WITHIN
                yield connection
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"the HTTP API's database: {error}") from error


def _begin(connection: DeskConnection) -> None:
    connection.deadline = time.monotonic() + LENT_WITHIN
    connection.execute(BEGINNING)


def _try_out(connection: DeskConnection) -> None:
    connection.deadline = time.monotonic() + LENT_WITHIN
    try_out(connection)
