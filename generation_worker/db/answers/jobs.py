"""Answers about jobs that somebody names or chooses."""

from __future__ import annotations

from typing import Any, NamedTuple

Row = dict[str, Any]


class JobDetails(NamedTuple):
    """All there is to know about one job."""

    job: Row
    queue_position: int | None
    """Jobs before it in its lane, so 0 is next; None if it does not wait in line. At FAR it means that many or more."""
    attempts: list[Row]
    calls: list[Row]
    entries: list[Row]
