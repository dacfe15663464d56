"""Sessions of the dashboard as rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generation_worker.db.access import SessionDesk, create_token
from generation_worker.db.connections import DeskConnections, open_desk_pool
from tests.support.database import Connection, Database, queries_on

FIRST, SECOND = b"1" * 32, b"2" * 32


@pytest.fixture
def sessions(database: Database) -> Iterator[SessionDesk]:
    with open_desk_pool(database.conninfo, prepare=not database.pooled) as pool:
        yield SessionDesk(DeskConnections(pool))


@pytest.fixture
def token_id(connection: Connection) -> str:
    return create_token(queries_on(connection), "ann", ["read"]).token.id


def ended(connection: Connection, number: int, token_id: str) -> None:
    connection.execute(
        "INSERT INTO dashboard_session SELECT sha256(n::text::bytea), %s, now() - interval '1 day',"
        " now() - interval '1 second' FROM generate_series(1, %s) n",
        [token_id, number],
    )


def test_a_session_is_found_until_it_is_closed(sessions: SessionDesk, token_id: str):
    sessions.open_session(FIRST, token_id, lasts=60, by="test")
    assert (sessions.find_session(FIRST), sessions.find_session(SECOND)) == (token_id, None)
    sessions.close_session(FIRST, by="test")
    assert sessions.find_session(FIRST) is None


def test_one_that_has_ended_is_not_found(sessions: SessionDesk, connection: Connection, token_id: str):
    sessions.open_session(FIRST, token_id, lasts=60, by="test")
    connection.execute("UPDATE dashboard_session SET created_at = now() - interval '1 day', expires_at = now()")
    assert sessions.find_session(FIRST) is None


def test_those_that_have_ended_are_deleted_when_one_is_opened(
    sessions: SessionDesk, connection: Connection, token_id: str
):
    """A bounded number at a time, so that nobody waits for it."""
    sessions.open_session(FIRST, token_id, lasts=60, by="test")
    ended(connection, 150, token_id)
    sessions.open_session(SECOND, token_id, lasts=60, by="test")
    assert connection.execute("SELECT FROM dashboard_session").rowcount == 52
    sessions.close_session(SECOND, by="test")
    sessions.open_session(SECOND, token_id, lasts=60, by="test")
    left = connection.execute("SELECT id_hash FROM dashboard_session ORDER BY 1").fetchall()
    assert left == [(FIRST,), (SECOND,)]


def test_what_was_closed_twice_is_told_once(sessions: SessionDesk, connection: Connection, token_id: str):
    sessions.open_session(FIRST, token_id, lasts=60, by="dashboard:x")
    for _ in range(2):
        sessions.close_session(FIRST, by="dashboard:x")
    query = "SELECT actor, action, target, reason FROM audit_event WHERE action LIKE 'dashboard.%' ORDER BY id"
    target = f"token:{token_id}"
    assert connection.execute(query).fetchall() == [
        ("dashboard:x", "dashboard.sign_in", target, None),
        ("dashboard:x", "dashboard.sign_out", target, None),
    ]
