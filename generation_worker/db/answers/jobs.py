"""Answers about jobs that somebody names or chooses."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

Row = dict[str, Any]


class JobDetails(NamedTuple):
    """All there is to know about one job."""

    job: Row
    queue_position: int | None
    """Jobs before it in its lane, so 0 is next; None if it does not wait in line. At FAR it means that many or more."""
    attempts: list[Row]
    calls: list[Row]
    entries: list[Row]


class JobGlance(NamedTuple):
    """What a list shows of a job beside its columns."""

    id: UUID
    held: bool
    """Out of the claims' way, because it is paused."""
    worker: str | None
    prompt: str | None
    """Its beginning, with its placeholders."""
    inputs: Any
    """What fills them, unless that is large."""
    operations: Any
    images: int
    """That its result has."""
    place: int | None
    """Jobs before it; None if it does not wait in line, or far back."""
