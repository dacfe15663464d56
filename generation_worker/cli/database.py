"""The database that a command asks or changes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from generation_worker.cli.problems import WRONG, CommandFailed
from generation_worker.cli.settings import load

if TYPE_CHECKING:
    from uuid import UUID

    from psycopg import Connection

    from generation_worker.config import Settings
    from generation_worker.db.insights import Insights
    from generation_worker.db.pool import OwnConnection

REMEDY = "Run generation-worker migrate"
REVISION = "SELECT version_num FROM alembic_version"


@contextmanager
def database(settings: Settings | None = None) -> Generator[OwnConnection]:
    """A connection to a database whose tables this version understands.

    Raises ConfigurationError without an address, psycopg.OperationalError, and CommandFailed if it is not migrated.
    """
    from generation_worker.db.pool import OwnConnection  # noqa: PLC0415 - not for --help

    address = (settings or load()).require_database()
    own = OwnConnection(address.conninfo, prepare=False)
    try:
        _check_revision(own)
        yield own
    finally:
        own.close()


def job_id(insights: Insights, text: str) -> UUID:
    """The id that ``text`` is, or the only one that begins with it. Raises CommandFailed."""
    found = insights.find_jobs(text)
    if not found:
        raise CommandFailed("job_not_found", f"There is no job {text}.", "Final jobs are deleted after the retention.")
    if len(found) > 1:
        raise CommandFailed("ambiguous_id", f"Several jobs begin with {text}.", "Give more of the id.", WRONG)
    return found[0]


@contextmanager
def one_job(text: str) -> Generator[tuple[Connection[Any], UUID]]:
    """A connection, and the id of the job that ``text`` is or begins. Raises as ``database`` and ``job_id`` do."""
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help

        found = job_id(Insights(own), text)
        with own.connection() as connection:
            yield connection, found


def _check_revision(own: OwnConnection) -> None:
    from psycopg.errors import UndefinedTable  # noqa: PLC0415 - not for --help

    from generation_worker.db.migrations import head  # noqa: PLC0415

    try:
        with own.connection() as connection:
            row = connection.execute(REVISION).fetchone()
    except UndefinedTable:
        row = None
    if row is None:
        raise CommandFailed("not_migrated", "The database has no tables yet.", REMEDY, WRONG)
    if row[0] < head():
        message = f"The database is at revision {row[0]}; this version needs {head()}."
        raise CommandFailed("not_migrated", message, REMEDY, WRONG)
    if row[0] > head():
        # While a new version is being rolled out, the old one still answers.
        sys.stderr.write(
            f"Notice: the database is at revision {row[0]}, newer than this version knows ({head()}): it was brought "
            "there by generation-worker migrate of a newer one, so install that\n"
        )
