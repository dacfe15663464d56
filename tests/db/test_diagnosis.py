"""Reaching a database, its tables, the rights on them, and their dead rows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from generation_worker.db import migrations
from generation_worker.db.query import Queries
from generation_worker.db.server import (
    Function,
    SchemaPlace,
    TableHealth,
    list_functions,
    list_table_health,
    list_table_rights,
)
from generation_worker.db.statements import in_schema, quoted
from generation_worker.doctor import database as connecting
from generation_worker.doctor.check import Sessions, remedy_for, unreachable
from generation_worker.doctor.database import examine_clock, examine_connection, examine_schema, judge_schema
from generation_worker.doctor.postgres import (
    judge_autovacuum,
    judge_dead_rows,
    judge_rights,
    needed_functions,
    our_tables,
)
from tests.db.test_server import GOOD
from tests.support.database import SCHEMA, Connection, Database, queries_on

HEAD = migrations.head()


@pytest.fixture
def sessions(database: Database) -> Iterator[Sessions]:
    with closing(Sessions(database.conninfo)) as sessions:
        yield sessions


@pytest.fixture
def low(database: Database) -> Iterator[Connection]:
    """A connection of a role that has no rights at all."""
    connection = database.connect_direct()
    role = sql.Identifier(f"low_{uuid4().hex[:8]}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    connection.execute(sql.SQL("SET ROLE {}").format(role))
    yield connection
    connection.execute("RESET ROLE")
    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


# sessions


def test_a_session_changes_nothing(sessions: Sessions):
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), sessions.connection() as connection:
        connection.execute(in_schema("DELETE FROM generation.worker_process", SCHEMA).encode())


def test_a_question_that_takes_too_long_is_given_up_by_the_server(sessions: Sessions):
    with sessions.connection() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("10s",)


def test_a_session_that_is_kept_by_somebody_who_hangs_is_nobody_elses(sessions: Sessions):
    with sessions.connection() as kept, sessions.connection() as other:
        assert kept is not other
    with sessions.connection() as again:
        assert again in (kept, other)


# reaching it


def test_a_database_at_hand(sessions: Sessions):
    verdict = examine_connection(sessions, "app at localhost", "DATABASE_URL")
    assert verdict.status == "ok"
    assert re.fullmatch(r"app at localhost, a round trip takes \d+\.\d ms", verdict.detail)


def test_a_database_far_away(sessions: Sessions, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connecting, "FAR", 0.0)
    assert "region" in (examine_connection(sessions, "app", "DATABASE_URL").remedy or "")


def test_the_internet_asks_for_encryption(sessions: Sessions, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connecting, "_is_public", bool)
    verdict = examine_connection(sessions, "app", "DATABASE_URL")
    assert (verdict.status, verdict.remedy) == ("warning", "Add sslmode=require to DATABASE_URL")


def test_a_clock_that_agrees(sessions: Sessions):
    assert examine_clock(sessions).status == "ok"


@pytest.mark.parametrize(("off", "said"), [(3600.0, "1h ahead of"), (-90.0, "1m 30s behind")])
def test_a_clock_that_is_off(sessions: Sessions, monkeypatch: pytest.MonkeyPatch, off: float, said: str):
    ours = time.time
    monkeypatch.setattr(connecting.time, "time", lambda: ours() + off)
    verdict = examine_clock(sessions)
    assert verdict.status == "warning"
    assert f"this machine is {said} the database" in verdict.detail


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ({"dbname": "there_is_none"}, 'database "there_is_none" does not exist', "name of the database in DIRECT_URL"),
        ({"password": "s3cret-word"}, "password authentication failed", "percent-encode"),
        ({"port": "1"}, "Connection refused", "host and port in DIRECT_URL"),
        ({"sslmode": "require"}, "does not support SSL", "Remove sslmode"),
        ({"options": "-c nonsense=1"}, "nonsense", "DIRECT_URL"),
    ],
)
def test_why_it_cannot_be_reached(database: Database, change: dict[str, str], said: str, remedy: str):
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(make_conninfo(database.direct_conninfo, **change))
    verdict = unreachable(refused.value, "DIRECT_URL")
    assert verdict.status == "fault"
    assert said in verdict.detail
    assert remedy in (verdict.remedy or "")
    assert "s3cret-word" not in verdict.detail
    assert "Is the server running" not in verdict.detail


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('FATAL: no pg_hba.conf entry for host "1.2.3.4", user "a", database "d", no encryption', "pg_hba.conf"),
        ("FATAL: Tenant or user not found", "Supabase"),
        ("FATAL: (ENOTFOUND) tenant/user postgres.abc not found", "Supabase"),
        ("ERROR: Endpoint ID is not specified. Either please upgrade the client library", "Neon"),
        ("ERROR: Your account or project has exceeded the compute time quota.", "allowance"),
        ("ERROR: The endpoint has been disabled. Enable it using Neon API and retry.", "Enable"),
        ("FATAL: sorry, too many clients already", "pooler"),
        ('FATAL: too many connections for role "web"', "pooler"),
        ('connection is bad: connection to server at "2600::1", port 5432 failed: Network is unreachable', "IPv6"),
        ("ERROR: unsupported startup parameter in options: search_path", "ALTER ROLE"),
        ("connection timeout expired", "firewall"),
        ("SSL error: certificate verify failed", "sslrootcert"),
        ("FATAL: the database system is starting up", "Wait"),
        ('FATAL: permission denied for database "d"', "GRANT CONNECT"),
        ("failed to resolve host 'db.internal': [Errno -2] Name or service not known", "Correct the host"),
        ("failed to resolve host 'db.internal': [Errno -3] Temporary failure in name resolution", "Correct the host"),
        ("Verbindung verweigert", "Check DATABASE_URL"),
    ],
)
def test_what_others_say_has_a_remedy_too(said: str, remedy: str):
    assert remedy in remedy_for(said, "DATABASE_URL")


# the tables


def test_tables_as_new_as_this_version(sessions: Sessions):
    assert examine_schema(Queries(sessions, schema=SCHEMA)) == ("ok", f"revision {HEAD}, in schema {SCHEMA}", None)


def test_no_tables(empty_database: Database):
    with closing(Sessions(empty_database.conninfo)) as sessions:
        verdict = examine_schema(Queries(sessions, schema=SCHEMA))
    assert verdict == ("fault", f"there are no tables yet in the schema {SCHEMA}", "Run: generation-worker migrate")


def test_tables_in_another_schema(empty_database: Database):
    connection = empty_database.connect_direct()
    connection.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.generation_job ()")
    connection.execute("CREATE TABLE elsewhere.generation_worker_version ()")
    with closing(Sessions(empty_database.conninfo)) as sessions:
        verdict = examine_schema(Queries(sessions, schema=SCHEMA))
    assert verdict.status == "fault"
    assert "in the schema elsewhere" in verdict.detail
    assert "DATABASE_SCHEMA=elsewhere" in (verdict.remedy or "")


PLACE = SchemaPlace("web", present=True, usable=True, has_tables=True, has_revision=True, elsewhere=[])


@pytest.mark.parametrize(
    ("place", "revision", "status", "said"),
    [
        (PLACE, "0000", "fault", f"at revision 0000, this version needs {HEAD}"),
        (PLACE, "9999", "warning", "newer than this version knows"),
        (PLACE._replace(has_revision=False), None, "fault", "are not those of this version"),
        (PLACE._replace(usable=False), None, "fault", "web may not use the schema generation"),
        (PLACE._replace(present=False, usable=False, has_tables=False), None, "fault", "no tables yet"),
        (PLACE._replace(has_tables=False), HEAD, "fault", "no tables yet"),
    ],
)
def test_revisions(place: SchemaPlace, revision: str | None, status: str, said: str):
    verdict = judge_schema(place, revision, HEAD)
    assert verdict.status == status
    assert said in verdict.detail
    assert verdict.remedy


# rights


def test_the_owner_may_do_everything(sessions: Sessions, database: Database):
    queries = Queries(sessions, schema=SCHEMA)
    verdict = judge_rights(list_table_rights(queries, our_tables()), list_functions(queries), "web", schema=SCHEMA)
    assert verdict == ("ok", "web may do all that a worker does and owns the tables", None)


def test_what_is_missing_is_granted_by_the_remedy(low: Connection, database: Database):
    def look() -> tuple[str, str]:
        queries = queries_on(low)
        verdict = judge_rights(list_table_rights(queries, our_tables()), list_functions(queries), role, schema=SCHEMA)
        return verdict.status, verdict.remedy or ""

    [(role,)] = low.execute("SELECT current_user::text").fetchall()
    status, remedy = look()
    assert status == "fault"
    assert "credit_entry" in remedy
    owner = database.connect_direct()
    for statement in remedy.split("; "):
        owner.execute(statement.encode())
    assert look()[0] == "ok"
    owner.execute(f'REVOKE UPDATE ON generation_job FROM "{role}"'.encode())
    assert look() == ("fault", f'GRANT UPDATE ON {quoted(SCHEMA)}.generation_job TO "{role}"')
    owner.execute(f'GRANT UPDATE (status) ON generation_job TO "{role}"'.encode())
    assert look()[0] == "ok", "sql/roles.sql gives some columns only"
    owner.execute(f'REVOKE EXECUTE ON FUNCTION gate_window FROM "{role}"'.encode())
    assert look() == ("fault", f'GRANT EXECUTE ON FUNCTION {quoted(SCHEMA)}.gate_window TO "{role}"')


def test_the_functions_that_a_worker_needs_are_found_in_its_statements():
    functions = [
        Function("offer_providers", "SELECT helper()", definer=False, allowed=True),
        Function("helper", "SELECT 1", definer=False, allowed=True),
        Function("gate_stamp", "SELECT secret_helper()", definer=True, allowed=True),
        Function("secret_helper", "SELECT 1", definer=False, allowed=False),
        Function("somebody_elses", "SELECT 1", definer=False, allowed=False),
    ]
    assert [function.name for function in needed_functions(functions)] == ["gate_stamp", "helper", "offer_providers"]


def test_rows_that_are_hidden(low: Connection, database: Database):
    owner = database.connect_direct()
    owner.execute("ALTER TABLE generation_job ENABLE ROW LEVEL SECURITY")
    try:
        verdict = judge_rights(list_table_rights(queries_on(low), our_tables()), [], "web")
    finally:
        owner.execute("ALTER TABLE generation_job DISABLE ROW LEVEL SECURITY")
    assert verdict.status == "fault"
    assert "row-level security hides rows of generation_job from web" in verdict.detail


def test_without_tables_there_are_no_rights_to_lack():
    assert judge_rights([], [], "web").status == "skipped"


# dead rows


def test_dead_rows_are_counted_where_they_are(sessions: Sessions, database: Database):
    tables = list_table_health(Queries(sessions, schema=SCHEMA), our_tables())
    assert {table.name for table in tables} == set(our_tables())
    assert all(table.autovacuum for table in tables)
    assert list_table_health(Queries(sessions, schema=SCHEMA), ["there_is_none"]) == []


def test_a_table_that_is_not_swept(sessions: Sessions, database: Database):
    owner = database.connect_direct()
    owner.execute("ALTER TABLE job_attempt SET (autovacuum_enabled = off)")
    try:
        verdict = judge_autovacuum(GOOD, list_table_health(Queries(sessions, schema=SCHEMA), our_tables()))
    finally:
        owner.execute("ALTER TABLE job_attempt RESET (autovacuum_enabled)")
    assert (verdict.status, verdict.remedy) == ("fault", "ALTER TABLE job_attempt RESET (autovacuum_enabled)")


def test_how_many_are_too_many():
    def look(live: int, dead: int) -> str:
        [verdict] = judge_dead_rows([TableHealth("generation_job", live, dead, None, True, 1e6)])
        return verdict.status

    assert look(live=10, dead=10_000) == "ok"
    assert look(live=10, dead=10_001) == "warning"
    assert look(live=1_000_000, dead=400_000) == "ok"
    assert look(live=1_000_000, dead=500_001) == "warning"
    assert judge_dead_rows([])[0].status == "skipped"
