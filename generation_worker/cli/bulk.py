"""What a command does to many jobs at once: count, or do it and say how far it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from generation_worker.cli.database import database
from generation_worker.cli.output import print_json
from generation_worker.cli.problems import FAILED
from generation_worker.cli.settings import author

if TYPE_CHECKING:
    from generation_worker.db.bulk import ActionName, Done, Filter

PAST = {"cancel": "cancelled, or asked to stop", "release": "released"}
TELL_EVERY = 500

Status = Annotated[str | None, typer.Option(help="All of this status.")]
Kind = Annotated[str | None, typer.Option(help="All of this kind.")]
Provider = Annotated[str | None, typer.Option(help="All of this provider.")]
OfUser = Annotated[str | None, typer.Option("--user", help="All of this user.")]
Batch = Annotated[str | None, typer.Option(help="All of this batch.")]
Older = Annotated[str | None, typer.Option("--older-than", metavar="15m", help="Enqueued, or held, for longer.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]


def choose(
    *,
    status: str | None = None,
    kind: str | None = None,
    provider: str | None = None,
    user: str | None = None,
    batch: str | None = None,
    worker: str | None = None,
    code: str | None = None,
    older: str | None = None,
) -> Filter:
    """The filter that options make. Raises typer.BadParameter."""
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help
    from generation_worker.db.bulk import Filter  # noqa: PLC0415

    try:
        seconds = None if older is None else parse_duration(older)
        return Filter(status, kind, provider, user, None if batch is None else UUID(batch), worker, code, seconds)
    except ValueError as error:
        raise typer.BadParameter(f"--batch or --older-than: {error}") from None


def bulk(action: ActionName, chosen: Filter, *, dry_run: bool, reason: str | None, as_json: bool) -> int:
    """Do it to all that are chosen, or count them; the exit status."""
    from generation_worker.db import bulk as many  # noqa: PLC0415 - not for --help
    from generation_worker.db.insights import Insights  # noqa: PLC0415

    with database() as own:
        insights = Insights(own)
        by_status = many.count(insights, action, chosen)
        expected = sum(by_status.values())
        if dry_run:
            counted = {"dry_run": True, "jobs": expected, "by_status": by_status}
            _say(f"{expected} jobs would be {PAST[action]}{_parts(by_status)}", counted, as_json=as_json)
            return 0
        with database() as working, working.connection() as connection:
            steps = many.carry_out(connection, insights, action, chosen, by=author(reason))
            done = list(with_progress(steps, expected))
    refused = [
        {"id": each.id, "code": each.refused.code, "message": str(each.refused)} for each in done if each.refused
    ]
    for each in [] if as_json else refused:
        typer.echo(f"{each['id']}  left as it is: {each['message']}", err=True)
    changed = len(done) - len(refused)
    _say(f"{changed} jobs {PAST[action]}", {"dry_run": False, "jobs": changed, "refused": refused}, as_json=as_json)
    return FAILED if refused else 0


def _say(text: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        typer.echo(text.replace("1 jobs", "1 job") if text.startswith("1 ") else text)


def _parts(by_status: dict[str, int]) -> str:
    """Which they are, where they are not all alike."""
    return f" ({', '.join(f'{jobs} {status}' for status, jobs in by_status.items())})" if len(by_status) > 1 else ""


def with_progress(steps: Iterable[Done], expected: int) -> Iterator[Done]:
    """A bar on a terminal, now and then a line elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - takes longer than a job
        from rich.progress import track  # noqa: PLC0415

        yield from track(steps, total=expected, console=Console(stderr=True), transient=True)
        return
    for number, step in enumerate(steps, start=1):
        if number % TELL_EVERY == 0:
            sys.stderr.write(f"{number} of {expected}\n")
        yield step
