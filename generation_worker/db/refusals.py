"""What the database's functions refuse, as the exceptions of ``domain.refusals``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from generation_worker.domain.refusals import (
    EnqueueRefused,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
)

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
