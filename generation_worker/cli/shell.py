"""Says what went wrong: what was meant, what is the matter, what to do. Never a traceback, never a secret."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer import Abort, TyperException

from generation_worker.cli.output import print_json

# Options that several commands have, and how their values are read.


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of jobs, or how they begin.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Most rows to show.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key does it once.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the record.")]


def read_moment(value: str) -> datetime | timedelta:
    """A moment, 2030-01-31T12:00:00Z, or one counted from now, +5m. Raises typer.BadParameter."""
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

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
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

    if not value.startswith("-"):
        moment = read_moment(value)
        return datetime.now(UTC) + moment if isinstance(moment, timedelta) else moment
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(value[1:]))
    except (ValueError, OverflowError):
        raise typer.BadParameter("must be a moment such as 2030-01-31T12:00:00Z, or -1h before now") from None


# The settings of a command, and the secrets in them.


if TYPE_CHECKING:
    from generation_worker.config import Settings
    from generation_worker.db.audit_trail import Author

secrets: list[str] = []
"""Every secret that a command has read, so that no message shows one."""


def load(**overrides: Any) -> Settings:
    """The settings of the environment; ``overrides`` are options that were given. Raises ConfigurationError."""
    from generation_worker.config import load_settings  # noqa: PLC0415 - takes longer than --help

    settings = load_settings(**overrides)
    secrets.extend(settings.secret_values())
    return settings


def actor() -> str:
    """Who uses the command line, for the record."""
    import getpass  # noqa: PLC0415 - rarely needed
    import socket  # noqa: PLC0415

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "somebody"
    return f"cli:{user}@{socket.gethostname()}"


def author(reason: str | None) -> Author:
    """Who uses the command line, and why."""
    from generation_worker.db.audit_trail import Author  # noqa: PLC0415 - not for --help

    return Author(actor(), reason)


FAILED, WRONG = 1, 2


@dataclass
class CommandFailed(Exception):
    """What a command says when it cannot do what it was asked for."""

    code: str
    message: str
    hint: str = ""
    status: int = FAILED


class Problem(NamedTuple):
    """``code`` never changes its meaning; ``status`` is the exit status."""

    code: str
    message: str
    hint: str
    status: int


def report(error: Exception, *, as_json: bool, expose: bool = False) -> int:
    """Explain ``error`` on stderr, and on stdout if JSON was asked for; the exit status.

    With ``expose``, an error that nobody foresaw is raised again.
    """
    if isinstance(error, TyperException) and not error.format_message().strip():
        return WRONG  # the help that was shown instead of a command says enough
    problem = _known(error)
    if problem is None and expose:
        raise error
    return _print(problem or _unexpected(error), as_json=as_json)


def _known(error: BaseException) -> Problem | None:
    if isinstance(error, CommandFailed):
        return Problem(error.code, error.message, error.hint, error.status)
    if isinstance(error, TyperException):
        return _usage(error)
    if isinstance(error, Abort):
        return Problem("aborted", "Nothing was changed.", "", FAILED)
    return _ours(error) or _databases(error)


def _usage(error: TyperException) -> Problem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "generation-worker"
    return Problem("usage", error.format_message().strip(), f"See {command} --help", WRONG)


def _ours(error: BaseException) -> Problem | None:
    from generation_worker.config import ConfigurationError  # noqa: PLC0415 - only when something is wrong
    from generation_worker.db.embedded import EmbeddedPostgresError  # noqa: PLC0415
    from generation_worker.db.migrations import MigrationBlocked  # noqa: PLC0415
    from generation_worker.domain.errors import InvalidPayload, StorageUnavailable  # noqa: PLC0415
    from generation_worker.domain.refusals import EnqueueRefused, InvalidRequest  # noqa: PLC0415

    match error:
        case ConfigurationError():
            return Problem("configuration", "\n".join(error.problems), "", WRONG)
        case InvalidPayload():
            return Problem(error.code, str(error), "", WRONG)
        case EnqueueRefused():
            status = WRONG if isinstance(error, InvalidRequest) else FAILED
            return Problem(error.code, error.message, error.hint, status)
        case StorageUnavailable():
            return Problem(error.code, error.message, "Check the storage's settings and that it answers.", FAILED)
        case MigrationBlocked():
            return Problem("migration_blocked", str(error), "", FAILED)
        case EmbeddedPostgresError():
            return Problem("embedded_postgres", str(error), "", FAILED)
        case _:
            return None


def _databases(error: BaseException) -> Problem | None:
    """An error of the database, also inside one of SQLAlchemy's."""
    import psycopg  # noqa: PLC0415 - only when something is wrong
    from psycopg import errors  # noqa: PLC0415

    cause = getattr(error, "orig", None) or error
    match cause:
        case errors.UndefinedTable() | errors.UndefinedFunction() | errors.UndefinedColumn():
            said = cause.diag.message_primary or ""
            return Problem(
                "not_migrated", f"The database is not as expected: {said}.", "Run generation-worker migrate", WRONG
            )
        case errors.InsufficientPrivilege():
            said = f"The database does not allow it: {cause.diag.message_primary}."
            return Problem("not_allowed", said, "Use the role that owns the tables.", FAILED)
        case psycopg.OperationalError():
            said = f"The database does not answer: {' '.join(str(cause).split())}"
            return Problem("database_unavailable", said, "Check DATABASE_URL and that the server runs.", FAILED)
        case psycopg.Error():
            return Problem("database_error", f"The database refused: {' '.join(str(cause).split())}", "", FAILED)
        case _:
            return None


def _unexpected(error: Exception) -> Problem:
    frame = (extract_tb(error.__traceback__) or [None])[-1]
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Problem("internal_error", f"This should not happen: {said}{place}", "Please report it.", FAILED)


def _print(problem: Problem, *, as_json: bool) -> int:
    from generation_worker.log.redaction import hide_secrets, redact  # noqa: PLC0415 - only when something is wrong

    hide_secrets(secrets)
    message, hint = redact(problem.message), redact(problem.hint)
    lines = [*message.splitlines(), *([hint] if hint else [])]
    sys.stderr.write("".join(f"{'Error: ' if n == 0 else '       '}{line}\n" for n, line in enumerate(lines)))
    if as_json:
        print_json({"error": {"code": problem.code, "message": message, "hint": hint or None}})
    return problem.status


# The database that a command asks or changes.


if TYPE_CHECKING:
    from uuid import UUID

    from generation_worker.config import Settings
    from generation_worker.db.query import Queries

REMEDY = "Run generation-worker migrate"


@contextmanager
def database(settings: Settings | None = None) -> Generator[Queries]:
    """The queries of a database whose tables this version understands.

    Raises ConfigurationError without an address, psycopg.OperationalError, and CommandFailed if it is not migrated.
    """
    from generation_worker.db.connections import OwnConnection  # noqa: PLC0415 - not for --help
    from generation_worker.db.query import Queries  # noqa: PLC0415

    address = (settings or load()).require_database()
    own = OwnConnection(address.conninfo, prepare=False)
    try:
        queries = Queries(own, schema=address.schema)
        _check_revision(queries)
        yield queries
    finally:
        own.close()


def job_id(queries: Queries, text: str) -> UUID:
    """The id that ``text`` is, or the only one that begins with it. Raises CommandFailed."""
    from generation_worker.db.jobs import find_jobs  # noqa: PLC0415 - not for --help

    found = find_jobs(queries, text)
    if not found:
        raise CommandFailed("job_not_found", f"There is no job {text}.", "Final jobs are deleted after the retention.")
    if len(found) > 1:
        raise CommandFailed("ambiguous_id", f"Several jobs begin with {text}.", "Give more of the id.", WRONG)
    return found[0]


@contextmanager
def one_job(text: str) -> Generator[tuple[Queries, UUID]]:
    """The queries, and the id of the job that ``text`` is or begins. Raises as ``database`` and ``job_id`` do."""
    with database() as queries:
        yield queries, job_id(queries, text)


def _check_revision(queries: Queries) -> None:
    from psycopg.errors import UndefinedTable  # noqa: PLC0415 - not for --help

    from generation_worker.db.migrations import head  # noqa: PLC0415
    from generation_worker.db.server import find_revision  # noqa: PLC0415

    try:
        revision = find_revision(queries)
    except UndefinedTable:
        revision = None
    if revision is None:
        raise CommandFailed("not_migrated", f"The schema {queries.schema} has no tables yet.", REMEDY, WRONG)
    if revision < head():
        message = f"The schema {queries.schema} is at revision {revision}; this version needs {head()}."
        raise CommandFailed("not_migrated", message, REMEDY, WRONG)
    if revision > head():
        # While a new version is being rolled out, the old one still answers.
        sys.stderr.write(
            f"Notice: the schema {queries.schema} is at revision {revision}, newer than this version knows ({head()}): "
            "it was brought there by generation-worker migrate of a newer one, so install that\n"
        )
