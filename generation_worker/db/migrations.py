"""Brings a database to a revision of the schema, whole or not at all, however many try at once.

Everything happens in one transaction under pg_advisory_xact_lock: it ends with the transaction, so it works through a
transaction pooler and leaves nothing behind. `current` and `head` are asked at every start of a worker, so they import
neither Alembic nor SQLAlchemy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from generation_worker.db.connections import connect

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

PACKAGE = Path(__file__).parents[1]

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('generation_worker.migrations', 0))"
TURN_TIMEOUT = 60
"""How long to wait for another migration to end, in seconds."""
LOCK_TIMEOUT = 5
"""How long a statement waits for a table, in seconds. Whoever wants it next waits as well: that is an outage."""

# Nobody is waited for any more when this is asked; the oldest transaction that touches our tables is the likely one.
WHO_HOLDS = """
SELECT format('process %s (%s, %s) in a transaction since %s: %s', a.pid, a.usename, a.application_name,
              date_trunc('second', a.xact_start), left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80))
  FROM pg_stat_activity a
 WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND EXISTS (
   SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = a.pid AND l.granted AND c.relnamespace = current_schema()::regnamespace)
 ORDER BY a.xact_start LIMIT 3
"""


# A function may be called by everybody until somebody says otherwise. Its xmin says whether this transaction made it.
CLOSE = """
DO $$
BEGIN
  EXECUTE coalesce((
    SELECT string_agg(format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', p.oid::regprocedure), ';')
      FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.xmin = pg_current_xact_id()::xid), '');
END $$
"""


class MigrationBlocked(RuntimeError):
    """Somebody else holds what the migration needs. Nothing was changed; it may be run again."""


def upgrade(conninfo: str, revision: str = "head") -> list[str]:
    """Bring the database at `conninfo` (libpq) up to `revision`; returns the revisions that this call applied.

    Raises MigrationBlocked, and psycopg's or SQLAlchemy's error if the database refuses.
    """
    from alembic import command  # noqa: PLC0415 - heavy

    applied: list[str] = []

    def note(step: Any, **_: Any) -> None:
        applied.append(step.up_revision_id)

    command.upgrade(_config(conninfo, on_version_apply=note), revision)
    return applied


def downgrade(conninfo: str, revision: str) -> None:
    """Take the database back to `revision`, or with "base" to nothing. What the later tables hold is lost.

    Raises as `upgrade` does.
    """
    from alembic import command  # noqa: PLC0415 - heavy

    command.downgrade(_config(conninfo), revision)


def current(conninfo: str) -> str | None:
    """The database's revision, or None if it has none. Raises psycopg's errors."""
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except errors.UndefinedTable:
            return None
    return row[0] if row else None


def head() -> str:
    """The revision that this version of the program needs."""
    return max(script.name.split("_")[0] for script in _scripts().glob("versions/[0-9]*.py"))


def digest() -> str:
    """Changes with every change of the migrations: names a template that has been migrated with just these."""
    texts = [path.read_bytes() for path in sorted(_scripts().glob("[sv]*/[0-9]*.*"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


@contextmanager
def migrating(conninfo: str | None) -> Generator[Connection]:
    """The transaction in which Alembic's env.py migrates. Without `conninfo`: DIRECT_URL or DATABASE_URL."""
    from sqlalchemy import create_engine  # noqa: PLC0415 - heavy
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    address = conninfo or os.environ.get("DIRECT_URL") or os.environ["DATABASE_URL"]

    def connect() -> psycopg.Connection:
        return psycopg.connect(address, prepare_threshold=None, application_name="generation-worker migrate")

    # In any other isolation the transaction would see the database as it was before its turn came.
    engine = create_engine(
        "postgresql+psycopg://", creator=connect, poolclass=NullPool, isolation_level="READ COMMITTED"
    )
    with engine.begin() as connection:
        _take_turn(connection)
        with _naming_who_blocks(address):
            yield connection
            _driver(connection).execute(CLOSE)


def run_sql(script: str, direction: str) -> None:
    """Run the SQL that belongs to the migration `script` (its __file__): `up` or `down`."""
    from alembic import op  # noqa: PLC0415 - heavy

    path = Path(script)
    text = (path.parents[1] / "sql" / f"{path.stem}.{direction}.sql").read_bytes()
    _driver(op.get_bind()).execute(text)


def _driver(connection: Connection) -> psycopg.Connection:
    """As SQLAlchemy passes parameters, even none, each percent sign would have to be doubled."""
    return connection.connection.driver_connection  # pyright: ignore[reportReturnType]


def _take_turn(connection: Connection) -> None:
    for setting, seconds in (("statement_timeout", 0), ("lock_timeout", TURN_TIMEOUT)):
        connection.exec_driver_sql(f"SET LOCAL {setting} = '{seconds}s'")
    try:
        connection.exec_driver_sql(LOCK)
    except Exception as error:
        if isinstance(error.__cause__, errors.LockNotAvailable):
            raise MigrationBlocked(f"Another migration has been running for {TURN_TIMEOUT} seconds.") from None
        raise
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")


@contextmanager
def _naming_who_blocks(conninfo: str) -> Generator[None]:
    try:
        yield
    except errors.LockNotAvailable:
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
            holders = [row[0] for row in connection.execute(WHO_HOLDS)]
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


# Whether a worker can work on this database, asked once, before anything is claimed.


START_WITHIN = 30.0
"""Seconds in which the database must answer: a serverless one may have to wake up."""
REFUSED = ("password authentication failed", "does not exist", "no pg_hba.conf entry")
"""What the server says when waiting does not help. libpq gives no code for it; another language costs the wait only."""


def problems_of(conninfo: str, label: str, *, waiting: Callable[[int, str], None]) -> list[str]:
    """What is wrong with the database called ``label``, each with its remedy; none if a worker can work on it.

    ``waiting`` is told the number of the try and the error whenever the database has not answered yet.
    """
    try:
        in_recovery, isolation = _first_answer(conninfo, waiting)
    except psycopg.OperationalError as error:
        return [f"{label} does not answer: {_said(error)}"]
    problems: list[str] = []
    if in_recovery:
        problems.append(f"{label} is a replica; name the primary")
    if isolation != "read committed":
        problems.append(
            f"transactions are {isolation!r} by default; make them 'read committed': "
            "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
        )
    revision = current(conninfo)
    if revision is None or revision < head():  # a newer schema serves us too, while a deployment is under way
        problems.append(f"the schema is at {revision or 'nothing'}; run: generation-worker migrate")
    return problems


def _first_answer(conninfo: str, waiting: Callable[[int, str], None]) -> tuple[bool, str]:
    def ask() -> Any:
        with connect(conninfo, prepare=False) as connection:
            return connection.execute(
                "SELECT pg_is_in_recovery(), current_setting('default_transaction_isolation')"
            ).fetchone()

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
