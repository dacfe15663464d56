"""``job``: one job, from all sides."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from generation_worker.cli.output import NOTHING, print_facts, print_json, print_table, span
from generation_worker.cli.shell import (
    FAILED,
    CommandFailed,
    JobId,
    JobIds,
    Json,
    Limit,
    Reason,
    author,
    database,
    job_id,
    one_job,
)
from generation_worker.domain.fleet import extent_of

# What a command does to many jobs at once: count, or do it and say how far it is.


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


if TYPE_CHECKING:
    from generation_worker.db.bulk import Filter
    from generation_worker.db.jobs import JobDetails

app = typer.Typer(help="Look at one job, cancel it, try it again, put it first.", no_args_is_help=True)

OneJob = Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id, or how it begins.")]


@app.command("show")
def show(job: JobId, as_json: Json = False) -> None:
    """Show a job with its attempts, provider calls, credits and place in line."""
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help

        insights = Insights(own)
        details = insights.job_details(job_id(insights, job))
    if details is None:
        raise CommandFailed("job_not_found", f"There is no job {job}.")
    if as_json:
        print_json(details)
    else:
        _show(details)


@app.command("cancel")
def cancel(
    job: OneJob = None,
    status: Status = None,
    kind: Kind = None,
    provider: Provider = None,
    user: OfUser = None,
    batch: Batch = None,
    older_than: Older = None,
    dry_run: DryRun = False,
    reason: Reason = None,
    as_json: Json = False,
) -> int:
    """Cancel a job that waits, or ask one that runs to stop; what was charged comes back. Or all that are chosen."""
    chosen = choose(status=status, kind=kind, provider=provider, user=user, batch=batch, older=older_than)
    if job is None:
        return bulk("cancel", chosen, dry_run=dry_run, reason=reason, as_json=as_json)
    _not_both(chosen, dry_run=dry_run)
    _cancel_one(job, reason, as_json=as_json)
    return 0


def _cancel_one(job: str, reason: str | None, *, as_json: bool) -> None:
    with one_job(job) as (connection, found):
        from generation_worker.db import jobs as operations  # noqa: PLC0415 - not for --help

        cancelled = operations.cancel_job(connection, found, by=author(reason))
    if cancelled.status in ("completed", "failed"):
        raise CommandFailed("job_is_final", f"Job {found} is {cancelled.status} already; nothing was changed.")
    if as_json:
        print_json({"id": found, **cancelled._asdict()})
    elif cancelled.status == "cancelled":
        typer.echo(f"{found}  cancelled")
    else:
        typer.echo(f"{found}  {cancelled.status}: its worker was asked to stop; it may still complete first")


@app.command("release")
def release(
    job: OneJob = None,
    status: Status = None,
    kind: Kind = None,
    provider: Provider = None,
    user: OfUser = None,
    batch: Batch = None,
    worker: Annotated[str | None, typer.Option(help="All that this worker holds.")] = None,
    older_than: Older = None,
    dry_run: DryRun = False,
    reason: Reason = None,
    as_json: Json = False,
) -> int:
    """Make a job due now that waits for its time, or all that are chosen; with --worker or --status processing,
    take them from a worker that is stuck: another takes over within seconds.

    The latter is seldom needed: leases of silent workers run out by themselves.
    """
    chosen = choose(
        status=status, kind=kind, provider=provider, user=user, batch=batch, worker=worker, older=older_than
    )
    if job is None:
        return bulk("release", chosen, dry_run=dry_run, reason=reason, as_json=as_json)
    _not_both(chosen, dry_run=dry_run)
    _release_one(job, reason, as_json=as_json)
    return 0


def _release_one(job: str, reason: str | None, *, as_json: bool) -> None:
    with one_job(job) as (connection, found):
        from generation_worker.db import jobs as operations  # noqa: PLC0415 - not for --help

        released = operations.release_job(connection, found, by=author(reason))
    if as_json:
        print_json({"id": found, **released._asdict()})
    elif released.held_by is None:
        typer.echo(f"{found}  is due now")
    else:
        typer.echo(f"{found}  is taken from {released.held_by}; a living worker takes it over within seconds")


@app.command("run-next")
def run_next(job: JobId, reason: Reason = None, as_json: Json = False) -> None:
    """Put a job that waits, for whatever, at the front of its lane."""
    with one_job(job) as (connection, found):
        from generation_worker.db import fleet as pauses  # noqa: PLC0415 - not for --help
        from generation_worker.db import jobs as operations  # noqa: PLC0415 - not for --help

        moved = operations.run_next(connection, found, by=author(reason))
        paused = pauses.pauses_of(connection, found)
    if as_json:
        print_json({"id": found, **moved, "paused": paused})
        return
    typer.echo(f"{found}  is next")
    for each in paused:
        typer.echo(f"It waits all the same: {extent_of(each.name)} is paused", err=True)


def _not_both(chosen: Filter, *, dry_run: bool) -> None:
    if dry_run or any(value is not None for value in asdict(chosen).values()):
        raise typer.BadParameter("name one job, or choose many by options")


@app.command("retry")
def retry(job: JobId, reason: Reason = None, as_json: Json = False) -> None:
    """Make a new job of one that failed or was cancelled, at today's price."""
    with one_job(job) as (connection, found):
        from generation_worker.db import jobs as operations  # noqa: PLC0415 - not for --help

        new = operations.replay_job(connection, found, by=author(reason))
    if as_json:
        print_json({"retry_of": found, **new._asdict()})
    else:
        typer.echo(f"{new.id}  {new.status}{'  (was replayed already)' if new.duplicate else ''}")


def _show(details: JobDetails) -> None:
    job = details.job
    shown = {name: value for name, value in job.items() if value is not None}
    if details.queue_position is not None:
        shown["queue_position"] = _place(details.queue_position)
    print_facts(shown.items())
    typer.echo()
    _table("Attempts", details.attempts, ("attempt", "outcome", "worker", "started_at", "seconds", "error_message"))
    _table("Provider calls", details.calls, ("number", "provider", "model", "provider_ref", "milliseconds", "spent"))
    _table("Credits", details.entries, ("seq", "kind", "amount", "balance_after", "created_at"))


def _place(before: int) -> str:
    from generation_worker.db.query import FAR  # noqa: PLC0415 - not for --help

    if before == 0:
        return "next"
    return f"{'≥ ' if before >= FAR else ''}{before:,} before it"


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    cells = [[_cell(name, row[name]) for name in columns] for row in rows]
    print_table([name.replace("_", " ") for name in columns], cells, title=title)


def _cell(name: str, value: Any) -> Any:
    if name == "spent" and value is None:
        return "unknown"
    return span(value) if name == "seconds" else NOTHING if value is None else value


# ``dead``: jobs that ended for good without an image.


if TYPE_CHECKING:
    from generation_worker.db.connections import OwnConnection
    from generation_worker.db.jobs import DeadLetters

dead_app = typer.Typer(help="Look at jobs that failed for good, and replay them.", no_args_is_help=True)

Code = Annotated[str | None, typer.Option(help="Only those with this error code.")]
OfUserWithDeadLetters = Annotated[str | None, typer.Option("--user", help="Only this user's.")]
COLUMNS = ("job", "failed at", "user", "kind", "code", "message", "replayed as")


@dead_app.command("list")
def list_letters(
    code: Code = None,
    user: OfUserWithDeadLetters = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before this one ended.")] = None,
    as_json: Json = False,
) -> None:
    """List failed jobs, the latest first."""
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415 - not for --help

        page = Insights(own).dead_letters(limit=limit, cursor=cursor, code=code, user=user)
    if as_json:
        print_json({"jobs": page.letters, "cursor": page.cursor})
    else:
        _show_dead_letters(page)


@dead_app.command("replay")
def replay(
    jobs: JobIds = None,
    code: Code = None,
    user: OfUserWithDeadLetters = None,
    kind: Kind = None,
    provider: Provider = None,
    batch: Batch = None,
    older_than: Older = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to replay.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    reason: Reason = None,
    as_json: Json = False,
) -> int:
    """Make new jobs of failed ones: those named, or all that are chosen and were not replayed yet."""
    chosen = choose(code=code, user=user, kind=kind, provider=provider, batch=batch, older=older_than)
    if bool(jobs) == (chosen != choose()):
        raise typer.BadParameter("name jobs, or choose them by --code, --user and the like")
    with database() as own:
        from generation_worker.db import bulk as many  # noqa: PLC0415 - not for --help
        from generation_worker.db.insights import Insights  # noqa: PLC0415

        insights = Insights(own)
        if jobs:
            ids = [job_id(insights, text) for text in jobs]
        else:
            ids = list(islice(many.choose(insights, "replay", chosen), limit))
        answers = [{"retry_of": job} if dry_run else _replay(own, job, reason) for job in ids]
    _say_replayed(answers, dry_run=dry_run, as_json=as_json)
    return FAILED if any("error" in answer for answer in answers) else 0


def _replay(own: OwnConnection, job: UUID, reason: str | None) -> dict[str, Any]:
    """One at a time: that one user cannot pay keeps no other's job from its second chance."""
    from generation_worker.db import jobs as operations  # noqa: PLC0415 - not for --help
    from generation_worker.domain.errors import InvalidPayload  # noqa: PLC0415
    from generation_worker.domain.refusals import EnqueueRefused  # noqa: PLC0415

    try:
        with own.connection() as connection:
            return {"retry_of": job, **operations.replay_job(connection, job, by=author(reason))._asdict()}
    except (EnqueueRefused, InvalidPayload) as error:
        return {"retry_of": job, "error": {"code": error.code, "message": error.message}}


def _say_replayed(answers: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "count": len(answers), "jobs": answers})
        return
    for answer in answers:
        if dry_run:
            typer.echo(f"{answer['retry_of']}  would be replayed")
        elif "error" in answer:
            typer.echo(f"{answer['retry_of']}  not replayed: {answer['error']['message']}", err=True)
        else:
            typer.echo(f"{answer['retry_of']}  replayed as {answer['id']}")
    if dry_run and answers:
        typer.echo(f"{len(answers)} in all")
    if not answers:
        typer.echo("No failed job is left to replay.")


def _show_dead_letters(page: DeadLetters) -> None:
    rows = [
        [j.id, j.finished_at, j.user_id, j.kind, j.error_code, j.error_message, j.replayed_as] for j in page.letters
    ]
    print_table(COLUMNS, rows)
    if not rows:
        typer.echo("No job has failed.")
    if page.cursor is not None:
        typer.echo(f"There are more: --cursor {page.cursor}")
