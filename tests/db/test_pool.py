from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from generation_worker.db.connections import CHECK_AFTER, open_pool
from tests.support.database import Connection, Database


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool[Any]]:
    with open_pool(database.direct_conninfo, prepare=True, size=1) as pool:
        yield pool


def backend(pool: ConnectionPool[Any]) -> int:
    with pool.connection() as connection:
        return connection.info.backend_pid


def test_a_connection_that_the_server_has_just_ended_is_not_lent(
    pool: ConnectionPool[Any], connection: Connection
) -> None:
    before = backend(pool)
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
    assert backend(pool) != before


def test_a_busy_connection_is_not_asked_whether_it_lives(pool: ConnectionPool[Any], connection: Connection) -> None:
    queries = "SELECT query, query_start FROM pg_stat_activity WHERE pid = %s"
    ours = backend(pool)
    before = connection.execute(queries, (ours,)).fetchone()
    assert backend(pool) == ours
    assert connection.execute(queries, (ours,)).fetchone() == before


def test_a_rested_connection_is_asked(pool: ConnectionPool[Any], connection: Connection) -> None:
    queries = "SELECT query_start FROM pg_stat_activity WHERE pid = %s"
    ours = backend(pool)
    before = connection.execute(queries, (ours,)).fetchone()
    with pool.connection() as lent:
        lent.checked_at -= CHECK_AFTER
    assert backend(pool) == ours
    assert connection.execute(queries, (ours,)).fetchone() != before
