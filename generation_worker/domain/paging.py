"""Where a page of a list ended, as a text that says nothing to whoever carries it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from generation_worker.domain.refusals import InvalidRequest

LONGEST = 200


class Mark(NamedTuple):
    """A row of a list in the order of time, then of ids."""

    at: datetime
    id: UUID


BEGINNING = Mark(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
"""Before the latest row."""


def write_cursor(mark: Mark) -> str:
    return urlsafe_b64encode(f"{mark.at.isoformat()} {mark.id}".encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> Mark:
    """None is the beginning. Raises InvalidRequest for what is no cursor of ours."""
    if text is None:
        return BEGINNING
    try:
        at, _, row = urlsafe_b64decode(text[:LONGEST].encode() + b"==").decode().partition(" ")
        mark = Mark(datetime.fromisoformat(at), UUID(row))
    except ValueError:
        mark = None
    if mark is None or mark.at.tzinfo is None:
        raise _foreign()
    return mark


def write_number_cursor(number: int) -> str:
    return urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def read_number_cursor(text: str | None) -> int | None:
    """None is the beginning. Raises InvalidRequest for what is no cursor of ours."""
    if text is None:
        return None
    try:
        digits = urlsafe_b64decode(text[:LONGEST].encode() + b"==").decode("ascii")
    except ValueError:
        digits = ""
    if not digits.isdigit() or len(digits) > 18:
        raise _foreign()
    return int(digits)


def _foreign() -> InvalidRequest:
    return InvalidRequest("cursor: is not one that a page ended with", "Leave it out to begin anew.")
