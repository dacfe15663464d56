"""What a worker finds out about its database before it claims anything."""

from __future__ import annotations

import socket

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from generation_worker.db import migrations as readiness
from generation_worker.db.migrations import problems_of
from tests.support.database import SCHEMA, Database


def unheard(times: int, error: str) -> None:
    pytest.fail(f"waited: {times}, {error}")


def test_a_migrated_database_has_no_problem(database: Database):
    assert problems_of(database.conninfo, "the database", schema=SCHEMA, waiting=unheard) == []


def test_an_empty_database_names_the_command_that_helps(empty_database: Database):
    assert problems_of(empty_database.conninfo, "the database", schema=SCHEMA, waiting=unheard) == [
        f"the schema {SCHEMA} is at nothing; run: generation-worker migrate"
    ]


def test_an_unknown_database_is_told_at_once_instead_of_waited_for(database: Database):
    elsewhere = make_conninfo(database.direct_conninfo, dbname="there_is_none")
    [problem] = problems_of(elsewhere, "the database", schema=SCHEMA, waiting=unheard)
    assert problem.startswith("the database does not answer: ")
    assert "does not exist" in problem


def test_another_isolation_is_refused_with_the_remedy(empty_database: Database):
    with empty_database.connect_direct() as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(
                sql.Identifier(connection.info.dbname)
            )
        )
    problems = problems_of(empty_database.direct_conninfo, "the database", schema=SCHEMA, waiting=unheard)
    assert any("'serializable'" in problem and "ALTER ROLE" in problem for problem in problems)


def test_a_server_that_is_away_is_waited_for_and_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "START_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    told: list[str] = []
    [problem] = problems_of(
        f"host=127.0.0.1 port={port} user=nobody",
        "the database",
        schema=SCHEMA,
        waiting=lambda _, error: told.append(error),
    )
    assert "does not answer" in problem
    assert told
    assert all("refused" in error for error in told)
