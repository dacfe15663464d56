"""What the commands share: options, the settings, the database, and what an error means to a person."""

import getpass
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer
from psycopg import errors

from generation_worker.cli.output import FAILED, WRONG, CommandProblem, print_problem
from generation_worker.config import ConfigurationError, Settings, load_settings, parse_duration
from generation_worker.db import audit_trail, connections, embedded, jobs, migrations, query, server
from generation_worker.domain.errors import InvalidPayload, StorageUnavailable
from generation_worker.domain.refusals import EnqueueRefused, InvalidRequest
from generation_worker.log.redaction import hide_secrets

REMEDY = "Run generation-worker migrate"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of jobs, or how they begin.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Most rows to show.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key does it once.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the record.")]


def read_moment(value: str) -> datetime | timedelta:
    """A moment, 2030-01-31T12:00:00Z, or one counted from now, +5m. Raises typer.BadParameter."""
    try:
        if value.startswith("+"):
            return timedelta(seconds=parse_duration(value[1:]))
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise typer.BadParameter("must be a moment such as 2030-01-31T12:00:00Z, or +5m from now") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"has no time zone: write {value}Z for UTC")
    return moment


def read_past(value: str) -> datetime:
    """A moment, 2030-01-31T12:00:00Z, or one counted back from now, -1h. Raises typer.BadParameter."""
    if not value.startswith("-"):
        moment = read_moment(value)
        return datetime.now(UTC) + moment if isinstance(moment, timedelta) else moment
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(value[1:]))
    except (ValueError, OverflowError):
        raise typer.BadParameter("must be a moment such as 2030-01-31T12:00:00Z, or -1h before now") from None


@dataclass
class CommandFailed(Exception):
    """A command cannot do its work: what is wrong, what to do, and the exit status."""

    code: str
    message: str
    hint: str = ""
    status: int = FAILED


def load(**overrides: Any) -> Settings:
    """The settings of the environment; ``overrides`` are options that were given. Raises ConfigurationError.

    From now on no message shows a secret of them.
    """
    settings = load_settings(**overrides)
    hide_secrets(settings.secret_values())
    return settings


def actor() -> str:
    """Who uses the command line, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "somebody"
    return f"cli:{user}@{socket.gethostname()}"


def author(reason: str | None) -> audit_trail.Author:
    """Who uses the command line, and why."""
    return audit_trail.Author(actor(), reason)


@contextmanager
def database(settings: Settings | None = None) -> Generator[query.Queries]:
    """The queries of a database whose tables this version understands.

    Raises ConfigurationError without an address, psycopg.OperationalError, and CommandFailed if it is not migrated.
    """
    address = (settings or load()).require_database()
    own = connections.OwnConnection(address.conninfo, prepare=False)
    try:
        queries = query.Queries(own, schema=address.schema)
        _check_revision(queries)
        yield queries
    finally:
        own.close()


def job_id(queries: query.Queries, text: str) -> UUID:
    """The id that ``text`` is, or the only one that begins with it. Raises CommandFailed."""
    found = jobs.find_jobs(queries, text)
    if not found:
        raise CommandFailed("job_not_found", f"There is no job {text}.", "Final jobs are deleted after the retention.")
    if len(found) > 1:
        raise CommandFailed("ambiguous_id", f"Several jobs begin with {text}.", "Give more of the id.", WRONG)
    return found[0]


@contextmanager
def one_job(text: str) -> Generator[tuple[query.Queries, UUID]]:
    """The queries, and the id of the job that ``text`` is or begins. Raises as ``database`` and ``job_id`` do."""
    with database() as queries:
        yield queries, job_id(queries, text)


def report(error: Exception, *, as_json: bool, expose: bool = False) -> int:
    """Explain ``error`` on stderr, and on stdout if JSON was asked for; the exit status.

    With ``expose``, an error that is not known here is raised again.
    """
    problem = _own_problem(error) or _database_problem(error)
    if problem is None and expose:
        raise error
    return print_problem(problem or _unexpected(error), as_json=as_json)


def _own_problem(error: BaseException) -> CommandProblem | None:
    match error:
        case CommandFailed():
            return CommandProblem(error.code, error.message, error.hint, error.status)
        case ConfigurationError():
            return CommandProblem("configuration", "\n".join(error.problems), "", WRONG)
        case InvalidPayload():
            return CommandProblem(error.code, str(error), "", WRONG)
        case EnqueueRefused():
            status = WRONG if isinstance(error, InvalidRequest) else FAILED
            return CommandProblem(error.code, error.message, error.hint, status)
        case StorageUnavailable():
            return CommandProblem(
                error.code, error.message, "Check the storage's settings and that it answers.", FAILED
            )
        case migrations.MigrationBlocked():
            return CommandProblem("migration_blocked", str(error), "", FAILED)
        case embedded.EmbeddedPostgresError():
            return CommandProblem("embedded_postgres", str(error), "", FAILED)
        case _:
            return None


def _database_problem(error: BaseException) -> CommandProblem | None:
    """What an error of psycopg means, also inside one of SQLAlchemy's."""
    cause = getattr(error, "orig", None) or error
    match cause:
        case errors.UndefinedTable() | errors.UndefinedFunction() | errors.UndefinedColumn():
            message = f"The database is not as expected: {cause.diag.message_primary or ''}."
            return CommandProblem("not_migrated", message, REMEDY, WRONG)
        case errors.InsufficientPrivilege():
            message = f"The database does not allow it: {cause.diag.message_primary}."
            return CommandProblem("not_allowed", message, "Use the role that owns the tables.", FAILED)
        case psycopg.OperationalError():
            message = f"The database does not answer: {' '.join(str(cause).split())}"
            return CommandProblem(
                "database_unavailable", message, "Check DATABASE_URL and that the server runs.", FAILED
            )
        case psycopg.Error():
            return CommandProblem("database_error", f"The database refused: {' '.join(str(cause).split())}", "", FAILED)
        case _:
            return None


def _unexpected(error: Exception) -> CommandProblem:
    frame = (extract_tb(error.__traceback__) or [None])[-1]
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    message = " ".join(f"This should not happen: {type(error).__name__}: {error}".split())
    return CommandProblem("internal_error", f"{message}{place}", "Please report it.", FAILED)


def _check_revision(queries: query.Queries) -> None:
    try:
        revision = server.find_revision(queries)
    except errors.UndefinedTable:
        revision = None
    if revision is None:
        raise CommandFailed("not_migrated", f"The schema {queries.schema} has no tables yet.", REMEDY, WRONG)
    if revision < migrations.head():
        message = f"The schema {queries.schema} is at revision {revision}; this version needs {migrations.head()}."
        raise CommandFailed("not_migrated", message, REMEDY, WRONG)
    if revision > migrations.head():
        # While a new version is being rolled out, the old one still answers.
        sys.stderr.write(
            f"Notice: the schema {queries.schema} is at revision {revision}, "
            f"newer than this version knows ({migrations.head()}): "
            "it was brought there by generation-worker migrate of a newer one, so install that\n"
        )
