import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import NullPool

from generation_worker.db import migrations
from generation_worker.db.migrations import VERSION_TABLE, MigrationBlocked
from generation_worker.db.statements import load_statements, quoted
from generation_worker.db.tables import metadata
from tests.generate_schema import schema_of
from tests.support.database import SCHEMA, Database
from tests.support.waiting import wait_for_lock_waiters

ROOT = Path(__file__).parents[2]
REVISIONS = [path.stem.split("_")[0] for path in sorted((ROOT / "alembic" / "versions").glob("*.py"))]
UPGRADE = (
    "import sys; from generation_worker.db import migrations; "
    f"print(migrations.upgrade(sys.argv[1], schema={SCHEMA!r}))"
)

LEFTOVERS = """
SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE n.nspname = %(schema)s
UNION ALL SELECT proname FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE n.nspname = %(schema)s
UNION ALL SELECT typname FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE n.nspname = %(schema)s
UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = %(schema)s
"""

upgrade = partial(migrations.upgrade, schema=SCHEMA)
downgrade = partial(migrations.downgrade, schema=SCHEMA)
current = partial(migrations.current, schema=SCHEMA)


def migrate_elsewhere(conninfo: str) -> subprocess.Popen[str]:
    """An upgrade in a process of its own; it prints the revisions that it applied."""
    return subprocess.Popen([sys.executable, "-c", UPGRADE, conninfo], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def leftovers(database: Database) -> list[tuple[str]]:
    return database.connect().execute(LEFTOVERS.encode(), {"schema": SCHEMA}).fetchall()


def test_a_migration_is_applied_once(empty_database: Database):
    assert current(empty_database.conninfo) is None
    assert upgrade(empty_database.conninfo) == REVISIONS
    assert current(empty_database.conninfo) == migrations.head() == REVISIONS[-1]
    assert upgrade(empty_database.conninfo) == []


def test_every_step_down_takes_away_what_its_step_up_has_made(empty_database: Database):
    direct = empty_database.direct_conninfo
    schemas: list[str | None] = []
    for revision in REVISIONS:
        schemas.append(schema_of(direct, SCHEMA) if leftovers(empty_database) else None)
        assert upgrade(empty_database.conninfo, revision) == [revision]
    for revision in [*reversed(REVISIONS[:-1]), "base"]:
        downgrade(empty_database.conninfo, revision)
        assert (schema_of(direct, SCHEMA) if leftovers(empty_database) else None) == schemas.pop()
    assert leftovers(empty_database) == []
    assert upgrade(empty_database.conninfo) == REVISIONS


def test_the_tables_are_those_of_the_metadata(database: Database):
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.direct_conninfo, options="-c search_path=public"),
        poolclass=NullPool,
    )
    with engine.connect() as connection:
        ours = MetaData(schema=SCHEMA)
        for table in metadata.sorted_tables:
            table.to_metadata(ours, schema=SCHEMA)

        def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
            return kind != "schema" or name == SCHEMA

        options = {
            "compare_type": True,
            "version_table": VERSION_TABLE,
            "version_table_schema": SCHEMA,
            "include_schemas": True,
            "include_name": is_ours,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, ours) == []


def test_the_head_is_alembics_head():
    config = Config()
    config.set_main_option("script_location", str(ROOT / "alembic"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.head()


def test_asking_for_the_revision_imports_neither_alembic_nor_sqlalchemy(database: Database):
    ask = (
        "import sys; from generation_worker.db import migrations; migrations.current(sys.argv[1]); migrations.head();"
        "print([name for name in sys.modules if name.split('.')[0] in ('alembic', 'sqlalchemy')])"
    )
    command = [sys.executable, "-c", ask, database.conninfo]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_of_four_that_migrate_at_once_one_does_it(empty_database: Database):
    # In this isolation, were it not overridden, those who waited would not see what the first has done.
    name = empty_database.direct_conninfo.rsplit("/", 1)[1]
    connection = empty_database.connect_direct()
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'".encode())
    with connection.transaction():
        connection.execute(load_statements(SCHEMA)["lock_migrations"], {})
        processes = [migrate_elsewhere(empty_database.conninfo) for _ in range(4)]
        wait_for_lock_waiters(empty_database.connect_direct(), 4)
    said = [process.communicate()[0] for process in processes]
    assert sorted(said) == sorted([f"{REVISIONS}\n", "[]\n", "[]\n", "[]\n"])


def test_a_migration_that_is_killed_half_way_leaves_nothing(empty_database: Database):
    in_the_way = empty_database.connect_direct(autocommit=False)
    in_the_way.execute(f"CREATE SCHEMA {quoted(SCHEMA)}".encode())
    with migrate_elsewhere(empty_database.conninfo) as half_way:
        wait_for_lock_waiters(empty_database.connect_direct(), 1)
        half_way.kill()
    in_the_way.rollback()
    watcher = empty_database.connect_direct()
    watcher.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE '% migrate'"
    )
    assert leftovers(empty_database) == []
    assert upgrade(empty_database.conninfo) == REVISIONS


def test_a_migration_gives_up_behind_a_long_transaction_and_names_it(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    upgrade(empty_database.conninfo)
    before = schema_of(empty_database.direct_conninfo, SCHEMA)
    reader = empty_database.connect_direct(autocommit=False)
    reader.execute("SELECT count(*) FROM generation_job")
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", 0.01)
    with pytest.raises(MigrationBlocked, match=rf"nothing was changed.*process {reader.info.backend_pid} .*count"):
        downgrade(empty_database.conninfo, "base")
    reader.rollback()
    assert schema_of(empty_database.direct_conninfo, SCHEMA) == before
    assert current(empty_database.conninfo) == migrations.head()


def test_a_migration_gives_up_when_another_one_does_not_end(empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    other = empty_database.connect_direct(autocommit=False)
    other.execute(load_statements(SCHEMA)["lock_migrations"], {})
    monkeypatch.setattr(migrations, "TURN_TIMEOUT", 0.01)
    with pytest.raises(MigrationBlocked, match="Another migration"):
        upgrade(empty_database.conninfo)
    other.rollback()
    assert upgrade(empty_database.conninfo) == REVISIONS


def test_a_migration_queues_behind_nobody_for_long(empty_database: Database):
    with migrations.migrating(empty_database.conninfo, SCHEMA) as (connection, _):
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "5s"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"


def test_nothing_of_a_migration_outlives_its_transaction(empty_database: Database):
    upgrade(empty_database.conninfo)
    connection = empty_database.connect()
    assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_alembic_works_by_hand(empty_database: Database):
    environment = empty_database.environment | {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(Path(sys.executable).with_name("alembic")), "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert current(empty_database.conninfo) == migrations.head()


def test_an_installed_package_migrates(empty_database: Database, tmp_path: Path):
    python = sys.executable
    build = [python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    migrate = [python, "-c", f"{UPGRADE}; print(migrations.__file__)", empty_database.conninfo]
    done = subprocess.run(
        migrate, cwd=tmp_path, env={"PYTHONPATH": str(site)}, check=True, capture_output=True, text=True
    )
    applied, where = done.stdout.splitlines()
    assert applied == str(REVISIONS)
    assert Path(where).is_relative_to(site)


def test_what_a_migration_makes_is_for_nobody_else(database: Database):
    """Whatever a later migration forgets to say: everybody could call its functions."""
    connection = database.connect_direct()
    connection.execute("CREATE FUNCTION of_the_app() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with migrations.migrating(database.direct_conninfo, SCHEMA) as (migration, _):
        made = f"CREATE FUNCTION {quoted(SCHEMA)}.made() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        migration.exec_driver_sql(made)
    asked = "SELECT has_function_privilege('public', %s, 'EXECUTE')"
    answers = [connection.execute(asked, (name,)).fetchone() for name in ("made()", "of_the_app()")]
    assert answers == [(False,), (True,)]
    connection.execute("DROP FUNCTION made(), of_the_app()")


def test_what_an_operator_granted_stays(database: Database):
    """A later migration takes away privileges on what it makes, and on nothing else."""
    connection = database.connect_direct()
    role = f"An app {uuid4().hex}"
    for statement in (
        "CREATE ROLE {}",
        "GRANT EXECUTE ON FUNCTION enqueue_generation TO {}",
        "GRANT SELECT ON generation_job TO {}",
    ):
        connection.execute(sql.SQL(statement).format(sql.Identifier(role)))
    with migrations.migrating(database.direct_conninfo, SCHEMA) as (migration, _):
        migration.exec_driver_sql(f"ALTER TABLE {quoted(SCHEMA)}.generation_job ADD COLUMN made int")
        migration.exec_driver_sql(f"ALTER TABLE {quoted(SCHEMA)}.generation_job DROP COLUMN made")
    asked = "SELECT has_table_privilege(%s, 'generation_job', 'SELECT'), has_function_privilege(%s, p.oid, 'EXECUTE')"
    asked += " FROM pg_proc p WHERE proname = 'enqueue_generation'"
    assert connection.execute(asked.encode(), [role, role]).fetchall() == [(True, True)]
    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))
