"""However the database is away, a request is answered within seconds, and the next one works again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest

from generation_worker.db import connections as api_pool
from generation_worker.db.access import has_tokens
from generation_worker.db.connections import ApiConnections, open_api_pool
from generation_worker.db.query import Queries
from generation_worker.ports import StoreUnavailable
from tests.support.database import SCHEMA, Database


def queries_over(connections: ApiConnections) -> Queries:
    return Queries(connections, schema=SCHEMA)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_pool, "ACQUIRE_TIMEOUT", 0.5)
    monkeypatch.setattr(api_pool, "REQUEST_TIMEOUT", 0.5)


@contextmanager
def nobody() -> Generator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"


@pytest.mark.usefixtures("hurry")
def test_a_server_that_is_not_there():
    with nobody() as silent, open_api_pool(silent, prepare=True) as pool, pytest.raises(StoreUnavailable):
        has_tokens(queries_over(ApiConnections(pool)))


@pytest.mark.usefixtures("hurry")
def test_a_statement_that_does_not_end(desk: ApiConnections):
    with pytest.raises(StoreUnavailable), desk.connection() as connection:
        connection.execute("SELECT pg_sleep(600)")
    assert has_tokens(queries_over(desk)) is False


def test_a_server_that_went_away_and_came_back(desk: ApiConnections, database: Database):
    assert has_tokens(queries_over(desk)) is False
    with desk.connection() as connection:
        pid = connection.info.backend_pid
    ended = database.connect_direct().execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    assert ended.fetchone() == (True,)
    assert has_tokens(queries_over(desk)) is False


@pytest.mark.usefixtures("hurry")
def test_more_than_can_be_served_are_told_to_come_again(desk: ApiConnections):
    held = threading.Barrier(api_pool.CONNECTIONS + 1)
    over = threading.Event()

    def hold() -> None:
        with desk.connection():
            held.wait()
            over.wait()

    threads = [threading.Thread(target=hold) for _ in range(api_pool.CONNECTIONS)]
    for thread in threads:
        thread.start()
    held.wait()
    try:
        with pytest.raises(StoreUnavailable):
            has_tokens(queries_over(desk))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert has_tokens(queries_over(desk)) is False


def test_what_the_database_refuses_for_good_is_no_outage(desk: ApiConnections):
    with pytest.raises(psycopg.errors.UndefinedTable), desk.connection() as connection:
        connection.execute("SELECT FROM nowhere")
