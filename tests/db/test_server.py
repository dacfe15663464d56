"""What a server must be like, and what is said of one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from psycopg import sql

from generation_worker.db.query import Queries
from generation_worker.db.server import Server, read_server
from generation_worker.doctor.check import Sessions
from generation_worker.doctor.postgres import judge_autovacuum, judge_connections, judge_durability, judge_server
from tests.support.database import Database

GOOD = Server(
    version="18.6 (Debian)",
    version_number=180006,
    database="app",
    role="web",
    replica=False,
    identity="5 today",
    isolation="read committed",
    read_only=False,
    keeps_files=True,
    keeps_commits=True,
    autovacuum=True,
    statement_timeout=0.0,
    max_connections=100,
    connections=89,
    oldest_xid=200_000_000,
)


@pytest.fixture
def sessions(empty_database: Database) -> Iterator[Sessions]:
    with closing(Sessions(empty_database.direct_conninfo)) as sessions:
        yield sessions


def configure(database: Database, setting: str, value: str) -> None:
    connection = database.connect_direct()
    name = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
    )


def test_what_a_server_says_of_itself(sessions: Sessions, empty_database: Database):
    found = read_server(Queries(sessions))
    direct = empty_database.connect_direct()
    assert (found.database, found.role) == (direct.info.dbname, direct.info.user)
    assert found.version_number == direct.info.server_version
    assert (found.replica, found.isolation, found.autovacuum) == (False, "read committed", True)
    assert 0 < found.connections <= found.max_connections
    assert judge_server(found).status == "ok"


def test_two_addresses_of_one_database_are_known_as_one(database: Database, empty_database: Database):
    def identity(conninfo: str) -> str:
        with closing(Sessions(conninfo)) as sessions:
            return read_server(Queries(sessions)).identity

    assert identity(database.conninfo) == identity(database.direct_conninfo)
    assert identity(database.conninfo) != identity(empty_database.direct_conninfo)


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("default_transaction_isolation", "serializable", "SET default_transaction_isolation = 'read committed'"),
        ("default_transaction_read_only", "on", "RESET default_transaction_read_only"),
    ],
)
def test_a_session_that_begins_wrong(
    empty_database: Database, sessions: Sessions, setting: str, value: str, remedy: str
):
    configure(empty_database, setting, value)
    verdict = judge_server(read_server(Queries(sessions)))
    assert verdict.status == "fault"
    assert remedy in (verdict.remedy or "")


def test_a_short_statement_timeout_is_seen_behind_our_own(empty_database: Database, sessions: Sessions):
    configure(empty_database, "statement_timeout", "1500ms")
    verdict = judge_server(read_server(Queries(sessions)))
    assert verdict.status == "warning"
    assert "after 1.5 s" in verdict.detail


def test_commits_that_may_be_lost(empty_database: Database, sessions: Sessions):
    configure(empty_database, "synchronous_commit", "off")
    assert not read_server(Queries(sessions)).keeps_commits


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"version_number": 130_014, "version": "13.14"}, "fault", "older than 14"),
        ({"version_number": 190_001, "version": "19.1"}, "warning", "newer"),
        ({"replica": True}, "fault", "a replica"),
        ({}, "ok", "PostgreSQL 18.6, the primary, as web"),
    ],
)
def test_what_can_be_worked_on(changes: dict[str, Any], status: str, said: str):
    verdict = judge_server(GOOD._replace(**changes))
    assert verdict.status == status
    assert said in verdict.detail


def test_the_rest_of_what_is_judged():
    assert judge_durability(GOOD).status == "ok"
    assert judge_durability(GOOD._replace(keeps_files=False)).status == "warning"
    assert "synchronous_commit" in (judge_durability(GOOD._replace(keeps_commits=False)).remedy or "")
    assert judge_connections(GOOD).status == "ok"
    assert judge_connections(GOOD._replace(connections=90)).status == "warning"
    assert judge_autovacuum(GOOD, []).status == "ok"
    assert judge_autovacuum(GOOD._replace(autovacuum=False), []).status == "fault"
    assert judge_autovacuum(GOOD._replace(oldest_xid=1_000_000_001), []).status == "fault"
