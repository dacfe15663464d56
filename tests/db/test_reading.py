"""Asking on the worker's pool: nothing is changed, nothing takes long, and what goes wrong has a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from generation_worker.db.connections import TookTooLong, open_pool, read_only
from generation_worker.db.embedded import free_port
from generation_worker.db.fleet import count_jobs_by_status
from generation_worker.db.query import Queries
from generation_worker.db.statements import quoted
from generation_worker.ports import StoreUnavailable
from tests.support.database import SCHEMA, Database


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool[Any]]:
    with open_pool(database.conninfo, prepare=not database.pooled, size=1) as opened:
        yield opened


def test_questions_are_answered_again_and_again(pool: ConnectionPool[Any]) -> None:
    for _ in range(4):  # prepared statements begin with the third
        with read_only(pool, seconds=5) as lent:
            assert count_jobs_by_status(Queries(lent, schema=SCHEMA))[0].jobs == 0


def test_nothing_can_be_changed(pool: ConnectionPool[Any]) -> None:
    with (
        pytest.raises(StoreUnavailable, match="read-only"),
        read_only(pool, seconds=5) as lent,
        lent.connection() as connection,
    ):
        connection.execute(f"DELETE FROM {quoted(SCHEMA)}.worker_process".encode())


def test_a_question_that_takes_too_long_is_given_up_and_the_next_one_is_not(pool: ConnectionPool[Any]) -> None:
    with pytest.raises(TookTooLong), read_only(pool, seconds=0.05) as lent, lent.connection() as connection:
        connection.execute("SELECT pg_sleep(20)")
    with pool.connection() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_a_busy_pool_counts_as_a_database_that_is_away(database: Database) -> None:
    with (
        open_pool(database.conninfo, prepare=not database.pooled, size=1, timeout=0.05) as pool,
        pool.connection(timeout=30),
        pytest.raises(StoreUnavailable),
        read_only(pool, seconds=5),
    ):
        pass


def test_a_database_that_is_away_is_called_so() -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with (
        open_pool(nowhere, prepare=True, size=1, timeout=0.2) as pool,
        pytest.raises(StoreUnavailable),
        read_only(pool, seconds=5),
    ):
        pass


def test_a_fault_of_ours_stays_one(pool: ConnectionPool[Any]) -> None:
    with (
        pytest.raises(psycopg.errors.UndefinedTable),
        read_only(pool, seconds=5) as lent,
        lent.connection() as connection,
    ):
        connection.execute("SELECT * FROM no_such_table")
