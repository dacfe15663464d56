"""Brings a database to a revision of the schema, whole or not at all, however many try at once.

Everything happens in one transaction under pg_advisory_xact_lock: it ends with the transaction, so it works through a
transaction pooler and leaves nothing behind. Tables, functions and Alembic's version table live in one schema, which
is made here if it is missing. `current` and `head` are called at every start of a worker, so they import neither
Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from generation_worker.db.connections import connect
from generation_worker.db.statements import SCHEMA, in_schema, load_statements

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script
    from sqlalchemy import Connection
PACKAGE = Path(__file__).parents[1]

VERSION_TABLE = "generation_worker_version"
"""Alembic's, under a name of its own: DATABASE_SCHEMA=public puts it beside the version table of an app's Alembic."""
TURN_TIMEOUT = 60
"""How long to wait for another migration to end, in seconds."""
LOCK_TIMEOUT = 5
"""How long a statement waits for a table, in seconds. Whoever wants it next waits as well: that is an outage."""
TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE generation\.(\w+)", re.MULTILINE)
CONCURRENT_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)", re.MULTILINE)
FUNCTION = re.compile(r"^CREATE FUNCTION generation\.(\w+)", re.MULTILINE)


class MigrationBlocked(RuntimeError):
    """Somebody else holds what the migration needs. Nothing was changed; it may be run again."""


class SchemaOccupied(MigrationBlocked):
    """Something stands where our tables are to be, or an earlier version's tables elsewhere. Nothing was changed."""


class Target(NamedTuple):
    """What stands where the tables are to be, before anything is changed."""

    present: bool
    owner: str | None
    role: str
    owned: bool
    migrated: bool
    objects: list[str]
    earlier: list[str]


def upgrade(conninfo: str, revision: str = "head", *, schema: str = SCHEMA) -> list[str]:
    """Bring the database at `conninfo` (libpq) up to `revision`; returns the revisions that this call applied.

    Raises MigrationBlocked, SchemaOccupied, and psycopg's or SQLAlchemy's error if the database refuses.
    """
    from alembic import command  # noqa: PLC0415 - heavy

    applied: list[str] = []

    def note(step: Any, **_: Any) -> None:
        applied.append(step.up_revision_id)

    config = _config(conninfo, schema=schema, on_version_apply=note)
    for step in _pending(config, revision, current(conninfo, schema=schema)):
        if (path := _concurrent_indexes(step.path)).exists():
            before = step.down_revision
            command.upgrade(config, before if isinstance(before, str) else "base")
            _build_indexes(conninfo, path.read_text(), schema)
    command.upgrade(config, revision)
    return applied


def downgrade(conninfo: str, revision: str, *, schema: str = SCHEMA) -> None:
    """Take the database back to `revision`, or with "base" to nothing. What the later tables hold is lost.

    Back at nothing the version table goes too, and the schema if `upgrade` made it and nobody else uses it. Raises as
    `upgrade` does.
    """
    from alembic import command  # noqa: PLC0415 - heavy

    if current(conninfo, schema=schema) is not None:
        command.downgrade(_config(conninfo, schema=schema), revision)


def current(conninfo: str, *, schema: str = SCHEMA) -> str | None:
    """The database's revision, or None if it has none. Raises psycopg's errors."""
    with (
        psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        try:
            row = cursor.execute(load_statements(schema)["current_revision"], {}).fetchone()
        except errors.UndefinedTable:
            return None
    return row["version_num"] if row else None


def head() -> str:
    """The revision that this version of the program needs."""
    return max(script.name.split("_")[0] for script in _scripts().glob("versions/[0-9]*.py"))


def digest() -> str:
    """Changes with every change of the migrations: names a template that has been migrated with just these."""
    texts = [path.read_bytes() for path in sorted(_scripts().glob("[sv]*/[0-9]*.*"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


@contextmanager
def migrating(conninfo: str | None, schema: str | None) -> Generator[tuple[Connection, str]]:
    """The transaction in which Alembic's env.py migrates, and the schema.

    Without `conninfo`: DIRECT_URL or DATABASE_URL; without `schema`: DATABASE_SCHEMA, or the default.
    """
    from sqlalchemy import create_engine  # noqa: PLC0415 - heavy
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - heavy

    address = conninfo or os.environ.get("DIRECT_URL") or os.environ["DATABASE_URL"]
    schema = schema or os.environ.get("DATABASE_SCHEMA") or SCHEMA
    statements = load_statements(schema)

    def connect() -> psycopg.Connection:
        return psycopg.connect(address, prepare_threshold=None, application_name="generation-worker migrate")

    # In any other isolation the transaction would see the database as it was before its turn came.
    engine = create_engine(
        "postgresql+psycopg://", creator=connect, poolclass=NullPool, isolation_level="READ COMMITTED"
    )
    with engine.begin() as connection:
        cursor = driver(connection).cursor(row_factory=dict_row)
        _take_turn(cursor, schema)
        with _naming_who_blocks(address, schema):
            _prepare_schema(cursor, schema)
            existing = cursor.execute(statements["list_objects"], {"schema": schema}).fetchall()[0]["objects"]
            yield connection, schema
            for row in cursor.execute(
                statements["revoke_defaults"], {"schema": schema, "existing": existing}
            ).fetchall():
                cursor.execute(row["statement"])
            cursor.execute(statements["drop_empty_schema"], {})


def run_sql(script: str, direction: str) -> None:
    """Run the SQL that belongs to the migration `script` (its __file__): `up` or `down`."""
    from alembic import context, op  # noqa: PLC0415 - heavy

    path = Path(script)
    text = (path.parents[1] / "sql" / f"{path.stem}.{direction}.sql").read_text()
    schema = context.get_context().version_table_schema or SCHEMA
    driver(op.get_bind()).execute(in_schema(text, schema).encode())


def require_indexes(script: str) -> None:
    """For a migration whose indexes are built CONCURRENTLY: check that they are there before its revision is recorded.

    `upgrade` builds them from `sql/<script>.concurrently.sql`, outside of any transaction, so that nobody waits for
    them. Raises MigrationBlocked if one is missing or invalid.
    """
    from alembic import context, op  # noqa: PLC0415 - heavy

    schema = context.get_context().version_table_schema or SCHEMA
    valid = _valid_indexes(driver(op.get_bind()), schema)
    wanted = CONCURRENT_INDEX.findall(_concurrent_indexes(script).read_text())
    if missing := [name for name in wanted if name not in valid]:
        raise MigrationBlocked(f"The index {missing[0]} has not been built: run generation-worker migrate.")


def driver(connection: Connection) -> psycopg.Connection:
    """As SQLAlchemy passes parameters, even none, each percent sign would have to be doubled."""
    return connection.connection.driver_connection  # pyright: ignore[reportReturnType]


def our_tables() -> set[str]:
    """The names of all tables that the migrations make."""
    return _made(TABLE)


def our_functions() -> set[str]:
    """The names of all functions that the migrations make."""
    return _made(FUNCTION)


def _made(kind: re.Pattern[str]) -> set[str]:
    texts = (path.read_text() for path in _scripts().glob("sql/[0-9]*.up.sql"))
    return {name for text in texts for name in kind.findall(text)}


def _pending(config: Config, revision: str, known: str | None) -> list[Script]:
    """The migrations after the revision `known`, up to `revision`, in their order; none if one of them is not known."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - heavy
    from alembic.script.revision import RevisionError  # noqa: PLC0415 - heavy

    try:
        return [*ScriptDirectory.from_config(config).iterate_revisions(revision, known or "base")][::-1]
    except RevisionError:  # Alembic itself reports it in the words of its command
        return []


def _concurrent_indexes(script: str) -> Path:
    path = Path(script)
    return path.parents[1] / "sql" / f"{path.stem}.concurrently.sql"


def _build_indexes(conninfo: str, text: str, schema: str) -> None:
    """Build indexes while the tables are in use, one `migrate` at a time. An interrupted build is started again."""
    statements = load_statements(schema)
    with (
        psycopg.connect(conninfo, prepare_threshold=None) as turn,
        psycopg.connect(conninfo, prepare_threshold=None, autocommit=True) as connection,
    ):
        _take_turn(turn.cursor(row_factory=dict_row), schema)  # an open transaction holds it until all are built
        turn.execute(statements["release_snapshot"])
        for statement in filter(str.strip, text.split(";\n")):
            [name] = CONCURRENT_INDEX.findall(statement)
            if name not in _valid_indexes(connection, schema):
                rows = connection.execute(statements["drop_invalid_index"], {"name": name}).fetchall()
                connection.execute(rows[0][0])
                connection.execute(in_schema(statement, schema).encode())


def _valid_indexes(connection: psycopg.Connection[Any], schema: str) -> set[str]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(load_statements(schema)["valid_indexes"], {"schema": schema}).fetchall()
    return {row["name"] for row in rows}


def _take_turn(cursor: psycopg.Cursor[dict[str, Any]], schema: str) -> None:
    statements = load_statements(schema)
    cursor.execute(statements["prepare_migration"], {"lock_timeout": f"{TURN_TIMEOUT}s"})
    try:
        cursor.execute(statements["lock_migrations"], {})
    except errors.LockNotAvailable:
        raise MigrationBlocked(f"Another migration has been running for {TURN_TIMEOUT} seconds.") from None
    cursor.execute(statements["prepare_migration"], {"lock_timeout": f"{LOCK_TIMEOUT}s"})


def _prepare_schema(cursor: psycopg.Cursor[dict[str, Any]], schema: str) -> None:
    """Make the schema if it is missing. Raises SchemaOccupied if it, or the database, is in use otherwise."""
    statements = load_statements(schema)
    target = Target(**cursor.execute(statements["migration_target"], {"schema": schema}).fetchall()[0])
    if target.migrated:
        return
    if problem := _problem(target, schema):
        raise SchemaOccupied(f"{problem} Nothing was changed.")
    if not target.present:
        cursor.execute(statements["create_schema"], {})


def _problem(target: Target, schema: str) -> str | None:
    """Why the tables cannot be made here; None if they can."""
    if target.earlier:
        return (
            f"The schema {target.earlier[0]} has the tables of a version before 0.1.0, which cannot be taken over: "
            "finish or cancel its jobs with that version and drop its tables, or use another database."
        )
    if not target.present:
        return None
    if schema == "public":
        taken = sorted(our_tables().intersection(target.objects))
        names = f"{', '.join(taken[:3])}{' and others' if len(taken) > 3 else ''}"
        problem = f"The schema public has other tables of the same names as ours ({names}): set DATABASE_SCHEMA."
        return problem if taken else None
    if target.objects:
        return (
            f"The schema {schema} is in use already, by something else than generation-worker (it has "
            f"{target.objects[0]}): set DATABASE_SCHEMA to a name that is free."
        )
    if not target.owned:
        return (
            f"The schema {schema} belongs to {target.owner}, not to {target.role}: run migrate as {target.owner}, or "
            "set DATABASE_SCHEMA to a name that is free."
        )
    return None


@contextmanager
def _naming_who_blocks(conninfo: str, schema: str) -> Generator[None]:
    try:
        yield
    except errors.LockNotAvailable:
        with (
            psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            rows = cursor.execute(load_statements(schema)["lock_holders"], {"schema": schema}).fetchall()
        holders = [row["holder"] for row in rows]
        raise MigrationBlocked(
            f"The migration waited {LOCK_TIMEOUT} seconds for a table and gave up; nothing was changed. "
            f"In the way: {'; '.join(holders) or 'somebody who is gone by now'}. Run it again when they are done."
        ) from None


def _scripts() -> Path:
    """In an installed package the scripts lie inside it, in a checkout beside it."""
    installed = PACKAGE / "_migrations"
    return installed if installed.is_dir() else PACKAGE.parent / "alembic"


def _config(conninfo: str, **attributes: Any) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - heavy

    config = Config(attributes={"conninfo": conninfo, **attributes})
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


START_WITHIN = 30.0
"""Seconds in which the database must answer: a serverless one may have to wake up."""
REFUSED = ("password authentication failed", "does not exist", "no pg_hba.conf entry")
"""What the server says when waiting does not help. libpq gives no code for it; another language costs the wait only."""


def problems_of(conninfo: str, label: str, *, schema: str = SCHEMA, waiting: Callable[[int, str], None]) -> list[str]:
    """What is wrong with the database called ``label``, each with its remedy; none if a worker can work on it.

    ``waiting`` is called with the number of the try and the error whenever the database has not answered.
    """
    try:
        server = _first_answer(conninfo, waiting)
    except psycopg.OperationalError as error:
        return [f"{label} does not answer: {_said(error)}"]
    problems: list[str] = []
    if server["replica"]:
        problems.append(f"{label} is a replica; name the primary")
    if server["isolation"] != "read committed":
        problems.append(
            f"transactions are {server['isolation']!r} by default; make them 'read committed': "
            "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
        )
    revision = current(conninfo, schema=schema)
    if revision is None or revision < head():  # a newer schema serves us too, while a deployment is under way
        problems.append(f"the schema {schema} is at {revision or 'nothing'}; run: generation-worker migrate")
    return problems


def _first_answer(conninfo: str, waiting: Callable[[int, str], None]) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with connect(conninfo, prepare=False) as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load_statements()["readiness"], {}).fetchall()[0]

    def report(state: RetryCallState) -> None:
        assert state.outcome is not None
        waiting(state.attempt_number, _said(state.outcome.exception()))

    patiently = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_delay(START_WITHIN),
        before_sleep=report,
        reraise=True,
    )
    return patiently(ask)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and not any(word in str(error) for word in REFUSED)


def _said(error: BaseException | None) -> str:
    return " ".join(str(error).split())
