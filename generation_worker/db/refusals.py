"""What the database's functions refuse, as exceptions that say what to do.

EnqueueRefused
├── InvalidRequest        something that was asked for is not valid
├── IdempotencyConflict   the key was used for another request
├── InsufficientCredits   the balance does not cover what is waiting
├── JobNotFound           there is no such job
└── JobNotReplayable      the job is not failed or cancelled
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

import psycopg
from psycopg import errors


class EnqueueRefused(Exception):
    """The request was refused and nothing was changed.

    ``code`` never changes its meaning, ``message`` names the field and the problem, ``hint`` is the
    remedy or empty.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.hint = hint


class InvalidRequest(EnqueueRefused):
    """Something that was asked for is not valid; the message names the field."""

    code = "invalid_request"


class IdempotencyConflict(EnqueueRefused):
    """The idempotency key was used for another request."""

    code = "idempotency_conflict"


class InsufficientCredits(EnqueueRefused):
    """The balance does not cover what is asked for and what already waits."""

    code = "insufficient_credits"


class JobNotFound(EnqueueRefused):
    """There is no job with this id."""

    code = "job_not_found"


class JobNotReplayable(EnqueueRefused):
    """Only a job that failed or was cancelled can be replayed."""

    code = "job_not_replayable"


_BY_SQLSTATE: dict[str | None, type[EnqueueRefused]] = {
    "GW004": IdempotencyConflict,
    "GW005": InsufficientCredits,
    "GW006": InvalidRequest,
}


@contextmanager
def refusals() -> Generator[None]:
    """Turns the errors by which the database's functions refuse into ours; others pass unchanged."""
    try:
        yield
    except errors.UntranslatableCharacter:
        raise InvalidRequest("a text contains the character U+0000, which the database cannot hold") from None
    except psycopg.DatabaseError as error:
        kind = _BY_SQLSTATE.get(error.sqlstate, InvalidRequest if isinstance(error, psycopg.DataError) else None)
        if kind is None:
            raise
        raise kind(error.diag.message_primary or str(error), error.diag.message_hint or "") from error
