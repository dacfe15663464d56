"""API keys and sessions of the dashboard as rows."""

from __future__ import annotations

import pytest

from generation_worker.db.access import (
    close_session,
    create_token,
    find_session,
    list_tokens,
    open_session,
    revoke_token,
)
from generation_worker.db.query import Queries
from tests.support.database import Connection, queries_on
from tests.support.plans import blocks_read

FIRST, SECOND = b"1" * 32, b"2" * 32


@pytest.fixture
def queries(connection: Connection) -> Queries:
    return queries_on(connection)


@pytest.fixture
def token_id(connection: Connection) -> str:
    return create_token(queries_on(connection), "ann", ["read"]).token.id


def ended(connection: Connection, number: int, token_id: str) -> None:
    connection.execute(
        "INSERT INTO dashboard_session SELECT sha256(n::text::bytea), %s, now() - interval '1 day',"
        " now() - interval '1 second' FROM generate_series(1, %s) n",
        [token_id, number],
    )


def test_a_session_is_found_until_it_is_closed(queries: Queries, token_id: str):
    open_session(queries, FIRST, token_id, lasts=60, by="test")
    assert (find_session(queries, FIRST), find_session(queries, SECOND)) == (token_id, None)
    close_session(queries, FIRST, by="test")
    assert find_session(queries, FIRST) is None


def test_one_that_has_ended_is_not_found(queries: Queries, connection: Connection, token_id: str):
    open_session(queries, FIRST, token_id, lasts=60, by="test")
    connection.execute("UPDATE dashboard_session SET created_at = now() - interval '1 day', expires_at = now()")
    assert find_session(queries, FIRST) is None


def test_those_that_have_ended_are_deleted_when_one_is_opened(queries: Queries, connection: Connection, token_id: str):
    """A bounded number at a time, so that nobody waits for it."""
    open_session(queries, FIRST, token_id, lasts=60, by="test")
    ended(connection, 150, token_id)
    open_session(queries, SECOND, token_id, lasts=60, by="test")
    assert connection.execute("SELECT FROM dashboard_session").rowcount == 52
    close_session(queries, SECOND, by="test")
    open_session(queries, SECOND, token_id, lasts=60, by="test")
    left = connection.execute("SELECT id_hash FROM dashboard_session ORDER BY 1").fetchall()
    assert left == [(FIRST,), (SECOND,)]


def test_what_was_closed_twice_is_told_once(queries: Queries, connection: Connection, token_id: str):
    open_session(queries, FIRST, token_id, lasts=60, by="dashboard:x")
    for _ in range(2):
        close_session(queries, FIRST, by="dashboard:x")
    query = "SELECT actor, action, target, reason FROM audit_event WHERE action LIKE 'dashboard.%' ORDER BY id"
    target = f"token:{token_id}"
    assert connection.execute(query).fetchall() == [
        ("dashboard:x", "dashboard.sign_in", target, None),
        ("dashboard:x", "dashboard.sign_out", target, None),
    ]


def test_keys_page_by_page(queries: Queries, connection: Connection):
    made = [create_token(queries, f"key {n}", ["read"], user_id="ada" if n % 2 else None).token for n in range(7)]
    revoke_token(queries, made[3].id)
    connection.execute("UPDATE api_token SET created_at = '2026-01-01' WHERE name IN ('key 1', 'key 2')")
    found: list[str] = []
    while page := list_tokens(queries, before=found[-1] if found else None, limit=2):
        found += [key.id for key in page]
    assert sorted(found) == sorted(key.id for key in made)
    assert found[:5] == [made[n].id for n in (6, 5, 4, 3, 0)]
    assert found == [key.id for key in list_tokens(queries)]
    assert made[3].id not in [key.id for key in list_tokens(queries, active=True)]
    assert {key.name for key in list_tokens(queries, user="ada")} == {"key 1", "key 3", "key 5"}


def test_a_page_of_keys_costs_the_same_among_many(connection: Connection):
    connection.execute(KEYS.encode())
    connection.execute("ANALYZE api_token")
    values = {"before": "key000010000", "user": None, "active": True, "limit": 50}
    assert blocks_read(connection, "list_tokens", values) < 200


KEYS = """
INSERT INTO api_token (id, name, secret_hash, scopes, created_at)
SELECT 'key' || lpad(n::text, 9, '0'), 'a', sha256(n::text::bytea), '{read}', now() + n * interval '1 second'
  FROM generate_series(1, 20000) n
"""
