"""A schema of our own: nothing outside of it is touched, nobody else gets in, and two of them live in one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from generation_worker.config import ConfigurationError, load_settings
from generation_worker.db import migrations
from generation_worker.db.migrations import SchemaOccupied
from generation_worker.db.protocol import PostgresStore
from generation_worker.db.query import Queries
from generation_worker.db.server import list_open_doors
from generation_worker.db.signals import PostgresSignals
from generation_worker.db.statements import COMMENT, in_schema, load_statements, quoted, statement_sources
from generation_worker.ports import WorkerInfo
from tests.support.database import SCHEMA, Connection, Database
from tests.support.jobs import PROMPT
from tests.support.protocol import OneConnection

pytestmark = pytest.mark.skipif(SCHEMA != "generation", reason="it has schemas of its own")
FIRST, SECOND = "generation", "My-Queue"
MAY_NOT = ["", "1st", "a.b", 'a"b', "a'b", "a b", "pg_mine", "x" * 41, "größe"]
TABLES = sorted({*migrations.our_tables(), migrations.VERSION_TABLE})


def enqueue(connection: Connection, schema: str) -> None:
    call = f"SELECT {quoted(schema)}.enqueue_generation('text_to_image', 'ada', %s, provider => 'local')"
    connection.execute(call.encode(), (Jsonb(PROMPT),))


def count(connection: Connection, schema: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {quoted(schema)}.generation_job".encode()).fetchone()
    assert row is not None
    return row[0]


def plain(database: Database) -> Connection:
    """As a session of the program: nothing of ours is in its search path."""
    return database.connect_direct(options="")


@pytest.fixture
def two(empty_database: Database) -> Database:
    """A database with two installations."""
    for schema in (FIRST, SECOND):
        assert migrations.upgrade(empty_database.direct_conninfo, schema=schema) == [migrations.head()]
        Queries.on(plain(empty_database), schema=schema).execute("offer_providers", providers=["local"])
        free = f"UPDATE {quoted(schema)}.fleet_setting SET value = '0' WHERE name LIKE 'price.%'"
        plain(empty_database).execute(free.encode())
    return empty_database


# the loader


@pytest.mark.parametrize("schema", [FIRST, SECOND, "public"])
def test_every_statement_names_its_schema_everywhere(two: Database, schema: str) -> None:
    if schema == "public":
        migrations.upgrade(two.direct_conninfo, schema=schema)
    connection = plain(two)
    connection.execute("SET search_path = pg_catalog")
    for name, text in load_statements(schema).items():
        assert text.startswith(f"-- {name}\n".encode())
        done = connection.pgconn.prepare(b"", _with_numbers(text))
        assert not done.error_message, (name, done.error_message)


def _with_numbers(text: bytes) -> bytes:
    """With $1 for the first parameter, as the server knows them."""
    names: list[bytes] = []
    parts = text.split(b"%(")
    for n, part in enumerate(parts[1:], 1):
        name, rest = part.split(b")s", 1)
        names += [] if name in names else [name]
        parts[n] = b"$%d%s" % (names.index(name) + 1, rest)
    return b"".join(parts).replace(b"%%", b"%")


def test_the_prefix_is_replaced_wherever_it_stands() -> None:
    written = (
        "SELECT pg_notify('generation.signals', 'x'), 'generation.t'::regclass FROM generation.f(generation_job.id)"
    )
    assert in_schema(written, FIRST) == written
    assert in_schema(written, SECOND) == (
        """SELECT pg_notify('"My-Queue".signals', 'x'), '"My-Queue".t'::regclass FROM "My-Queue".f(generation_job.id)"""
    )


@pytest.mark.parametrize("name", MAY_NOT)
def test_a_name_that_no_schema_may_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of the schema"):
        quoted(name)
    if name:
        with pytest.raises(ConfigurationError, match="DATABASE_SCHEMA must be letters, digits"):
            load_settings({"DATABASE_URL": "postgresql://h/d", "DATABASE_SCHEMA": name})


def test_every_statement_has_one_and_says_nothing_twice() -> None:
    for name, text in statement_sources().items():
        assert COMMENT.sub("", text).strip(), name
        assert not text.rstrip().endswith(";"), name


# two in one database


def test_two_installations_do_not_see_each_other(two: Database) -> None:
    connection = plain(two)
    enqueue(connection, SECOND)
    assert (count(connection, FIRST), count(connection, SECOND)) == (0, 1)
    stores = {schema: PostgresStore(OneConnection(connection), schema=schema) for schema in (FIRST, SECOND)}
    for store in stores.values():
        store.register_worker(WorkerInfo("worker-1", "0", ("local",), 5))
    assert stores[FIRST].promote_jobs(limit=9).next_due is None
    assert stores[SECOND].expire_jobs(limit=9) == []


def test_two_installations_do_not_hear_each_other(two: Database) -> None:
    address = two.direct_conninfo
    with closing(PostgresSignals(address)) as first, closing(PostgresSignals(address, schema=SECOND)) as second:
        first.open()
        second.open()
        second.send("for the second")
        first.send("for the first")
        assert first.wait(10) == ["for the first"]
        assert second.wait(10) == ["for the second"]


def test_two_installations_do_not_wait_for_each_others_migrations(
    two: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "TURN_TIMEOUT", 0.05)
    migrating = two.connect_direct(autocommit=False)
    migrating.execute(load_statements(FIRST)["lock_migrations"], {})
    assert migrations.upgrade(two.direct_conninfo, schema=SECOND) == []
    with pytest.raises(migrations.MigrationBlocked, match="Another migration"):
        migrations.upgrade(two.direct_conninfo, schema=FIRST)


def test_one_goes_and_the_other_stays(two: Database) -> None:
    migrations.downgrade(two.direct_conninfo, "base", schema=FIRST)
    assert migrations.current(two.direct_conninfo) is None
    assert migrations.current(two.direct_conninfo, schema=SECOND) == migrations.head()
    schemas = plain(two).execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('generation', 'My-Queue')")
    assert schemas.fetchall() == [("My-Queue",)]


# what was there before


def test_tables_of_the_app_are_left_alone(empty_database: Database) -> None:
    """Also a version table of the app's own Alembic, whether our tables are beside it or not."""
    app = plain(empty_database)
    app.execute("CREATE TABLE api_token (mine int); CREATE TABLE audit_event (mine int)")
    app.execute("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('8f3a')")
    migrations.upgrade(empty_database.direct_conninfo)
    migrations.downgrade(empty_database.direct_conninfo, "base")
    columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
    there = [("alembic_version", "version_num"), ("api_token", "mine"), ("audit_event", "mine")]
    assert app.execute(columns).fetchall() == there
    with pytest.raises(
        SchemaOccupied, match=r"^The schema public has .* \(api_token, audit_event\): set DATABASE_SCHEMA"
    ):
        migrations.upgrade(empty_database.direct_conninfo, schema="public")
    app.execute("DROP TABLE api_token, audit_event")
    assert migrations.upgrade(empty_database.direct_conninfo, schema="public") == [migrations.head()]
    migrations.downgrade(empty_database.direct_conninfo, "base", schema="public")
    assert app.execute(columns).fetchall() == there[:1]
    assert app.execute("SELECT * FROM alembic_version").fetchall() == [("8f3a",)]


def test_a_schema_of_somebody_else_is_left_alone(empty_database: Database) -> None:
    app = plain(empty_database)
    app.execute("CREATE SCHEMA generation; CREATE TABLE generation.pictures ()")
    with pytest.raises(
        SchemaOccupied, match=r"^The schema generation is in use already, .*pictures.*Nothing was changed"
    ):
        migrations.upgrade(empty_database.direct_conninfo)
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'generation'::regnamespace"
    assert app.execute(tables).fetchall() == [("pictures",)]


def test_an_empty_schema_of_ones_own_is_used_and_kept(empty_database: Database) -> None:
    app = plain(empty_database)
    app.execute("CREATE SCHEMA generation")
    migrations.upgrade(empty_database.direct_conninfo)
    migrations.downgrade(empty_database.direct_conninfo, "base")
    assert app.execute("SELECT FROM pg_namespace WHERE nspname = 'generation'").fetchall() == [()]


def test_an_empty_schema_of_another_role_is_left_alone(empty_database: Database, role: str) -> None:
    plain(empty_database).execute(f"CREATE SCHEMA generation AUTHORIZATION {role}".encode())
    with pytest.raises(SchemaOccupied, match=f"^The schema generation belongs to {role}, not to"):
        migrations.upgrade(empty_database.direct_conninfo)


def test_what_others_keep_in_our_schema_outlives_us(empty_database: Database) -> None:
    migrations.upgrade(empty_database.direct_conninfo)
    app = plain(empty_database)
    app.execute("CREATE TABLE generation.of_the_app ()")
    migrations.downgrade(empty_database.direct_conninfo, "base")
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'generation'::regnamespace"
    assert app.execute(tables).fetchall() == [("of_the_app",)]


def test_tables_of_an_earlier_version_are_met_with_a_sentence(empty_database: Database) -> None:
    app = plain(empty_database)
    for table in ("generation_job", "worker_process", "maintenance_task", "alembic_version"):
        app.execute(f"CREATE TABLE public.{table} ()".encode())
    with pytest.raises(SchemaOccupied, match=r"^The schema public has the tables of a version before 0\.1\.0"):
        migrations.upgrade(empty_database.direct_conninfo)
    assert app.execute("SELECT FROM pg_namespace WHERE nspname = 'generation'").fetchall() == []


# who gets in


@pytest.fixture
def role(empty_database: Database) -> Iterator[str]:
    """A role of this test alone."""
    name = f"somebody_{urlsplit(empty_database.direct_conninfo).path.strip('/')[-12:]}".replace("-", "_").lower()
    connection = plain(empty_database)
    connection.execute(f"CREATE ROLE {name}".encode())
    yield name
    connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


@pytest.fixture
def generous(empty_database: Database, role: str) -> Database:
    """A database whose default privileges give everything to a role, and to everybody."""
    connection = plain(empty_database)
    for kind in ("SCHEMAS", "TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"):
        for grantee in (role, "PUBLIC"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {grantee}".encode())
    return empty_database


def test_default_privileges_let_nobody_in(generous: Database, role: str) -> None:
    migrations.upgrade(generous.direct_conninfo)
    owner, other = plain(generous), plain(generous)
    other.execute(f"SET SESSION AUTHORIZATION {role}".encode())
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema"):
        other.execute("SELECT FROM generation.generation_job")
    owner.execute(f"GRANT USAGE ON SCHEMA generation TO {role}".encode())  # not even then
    for table in TABLES:
        for statement in ("SELECT FROM {}", "DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES", "TRUNCATE {}"):
            with pytest.raises(errors.InsufficientPrivilege):
                other.execute(sql.SQL(statement).format(sql.Identifier("generation", table)))
    granted = """
      SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
       WHERE c.relnamespace = 'generation'::regnamespace AND a.grantee <> c.relowner
      UNION ALL
      SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       WHERE p.pronamespace = 'generation'::regnamespace AND a.grantee <> p.proowner
      UNION ALL
      SELECT t.typname FROM pg_type t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
       WHERE t.oid = 'generation.planned_generation'::regtype AND a.grantee <> t.typowner
    """
    assert owner.execute(granted.encode()).fetchall() == []


def test_doors_that_are_open_are_found(empty_database: Database) -> None:
    migrations.upgrade(empty_database.direct_conninfo)
    connection = plain(empty_database)
    queries = Queries.on(connection)
    functions = sorted(migrations.our_functions())
    assert list_open_doors(queries, TABLES, functions) == []
    connection.execute("GRANT USAGE ON SCHEMA generation TO PUBLIC; GRANT SELECT ON generation.credit_entry TO PUBLIC")
    connection.execute("GRANT EXECUTE ON FUNCTION generation.grant_credits TO PUBLIC")
    assert {(door.role, door.may, door.object) for door in list_open_doors(queries, TABLES, functions)} >= {
        ("everybody", "use the schema", "generation"),
        ("everybody", "read", "credit_entry"),
        ("everybody", "call", "grant_credits"),
    }
