"""Says what went wrong: what was meant, what is the matter, what to do. Never a traceback, never a secret."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import NamedTuple

from typer import Abort, TyperException

from generation_worker.cli.output import print_json
from generation_worker.cli.settings import secrets

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
