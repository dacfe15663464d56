"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

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
