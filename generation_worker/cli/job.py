"""``job``: one job, from all sides."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from generation_worker.cli.bulk import Batch, DryRun, Kind, OfUser, Older, Provider, Status, bulk, choose
from generation_worker.cli.database import database, job_id, one_job
from generation_worker.cli.options import JobId, Json, Reason
from generation_worker.cli.output import NOTHING, print_facts, print_json, print_table, span
from generation_worker.cli.problems import CommandFailed
from generation_worker.cli.settings import author
from generation_worker.domain.pause import extent_of

if TYPE_CHECKING:
    from generation_worker.db.answers.jobs import JobDetails
    from generation_worker.db.bulk import Filter

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
        from generation_worker.db import operations  # noqa: PLC0415 - not for --help

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
        from generation_worker.db import operations  # noqa: PLC0415 - not for --help

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
        from generation_worker.db import operations, pauses  # noqa: PLC0415 - not for --help

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
        from generation_worker.db import operations  # noqa: PLC0415 - not for --help

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
    from generation_worker.db.insights import FAR  # noqa: PLC0415 - not for --help

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
