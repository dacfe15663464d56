"""``job`` and ``dead``: one job, changes to many jobs, and the jobs that failed."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer

from generation_worker.cli import shell
from generation_worker.cli.output import NOTHING, print_facts, print_json, print_table, span
from generation_worker.config import parse_duration
from generation_worker.db import bulk, fleet, jobs, query
from generation_worker.db.bulk import ActionName, BulkResult, Filter
from generation_worker.db.jobs import DeadLetters, JobRecord
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.fleet import extent_of
from generation_worker.domain.refusals import RequestRefused

DONE = {"cancel": "cancelled, or asked to stop", "release": "released"}
PROGRESS_EVERY = 500
"""Changed jobs between two lines of progress, where stderr is no terminal."""
COLUMNS = ("job", "failed at", "user", "kind", "code", "message", "replayed as")

OptionalJobId = Annotated[str | None, typer.Argument(metavar="[ID]", help="A job's id, or its beginning.")]
Status = Annotated[str | None, typer.Option(help="All of this status.")]
Kind = Annotated[str | None, typer.Option(help="All of this kind.")]
Provider = Annotated[str | None, typer.Option(help="All of this provider.")]
OfUser = Annotated[str | None, typer.Option("--user", help="All of this user.")]
Batch = Annotated[str | None, typer.Option(help="All of this batch.")]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="15m", help="Claimed, or else enqueued, earlier than that.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
OnlyCode = Annotated[str | None, typer.Option("--code", help="Only those with this error code.")]
OnlyUser = Annotated[str | None, typer.Option("--user", help="Only this user's.")]

app = typer.Typer(help="Show one job, cancel it, retry it, run it next.", no_args_is_help=True)
dead_app = typer.Typer(help="List failed jobs, and replay them.", no_args_is_help=True)


@app.command("show")
def show(job: shell.JobId, as_json: shell.Json = False) -> None:
    """Show a job with its attempts, provider calls, credits and place in line."""
    with shell.database() as queries:
        record = jobs.find_job_record(queries, shell.job_id(queries, job))
    if record is None:
        raise shell.CommandFailed("job_not_found", f"There is no job {job}.")
    if as_json:
        print_json(record)
    else:
        _print_record(record)


@app.command("cancel")
def cancel(
    job: OptionalJobId = None,
    status: Status = None,
    kind: Kind = None,
    provider: Provider = None,
    user: OfUser = None,
    batch: Batch = None,
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    reason: shell.Reason = None,
    as_json: shell.Json = False,
) -> int:
    """Cancel a waiting job, or ask a running one to stop; what was charged is refunded. Or all jobs of the options."""
    chosen = _filter(status=status, kind=kind, provider=provider, user=user, batch=batch, older_than=older_than)
    if job is None:
        return _change_many("cancel", chosen, dry_run=dry_run, reason=reason, as_json=as_json)
    _check_alone(chosen, dry_run=dry_run)
    with shell.one_job(job) as (queries, found):
        cancelled = jobs.cancel_job(queries, found, by=shell.author(reason))
    if cancelled.status in ("completed", "failed"):
        raise shell.CommandFailed("job_is_final", f"Job {found} is {cancelled.status} already; nothing was changed.")
    if as_json:
        print_json({"id": found, **cancelled._asdict()})
    elif cancelled.status == "cancelled":
        typer.echo(f"{found}  cancelled")
    else:
        typer.echo(f"{found}  {cancelled.status}: its worker was asked to stop; it may still complete first")
    return 0


@app.command("release")
def release(
    job: OptionalJobId = None,
    status: Status = None,
    kind: Kind = None,
    provider: Provider = None,
    user: OfUser = None,
    batch: Batch = None,
    worker: Annotated[str | None, typer.Option(help="All that this worker runs.")] = None,
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    reason: shell.Reason = None,
    as_json: shell.Json = False,
) -> int:
    """Make a delayed job due now, or all jobs of the options; with --worker or --status processing, take jobs from a
    worker that is stuck: another one takes them over within seconds.

    The latter is seldom needed: the leases of a worker that has died expire by themselves.
    """
    chosen = _filter(
        status=status, kind=kind, provider=provider, user=user, batch=batch, worker=worker, older_than=older_than
    )
    if job is None:
        return _change_many("release", chosen, dry_run=dry_run, reason=reason, as_json=as_json)
    _check_alone(chosen, dry_run=dry_run)
    with shell.one_job(job) as (queries, found):
        released = jobs.release_job(queries, found, by=shell.author(reason))
    if as_json:
        print_json({"id": found, **released._asdict()})
    elif released.held_by is None:
        typer.echo(f"{found}  is due now")
    else:
        typer.echo(f"{found}  is taken from {released.held_by}; another worker takes it over within seconds")
    return 0


@app.command("run-next")
def run_next(job: shell.JobId, reason: shell.Reason = None, as_json: shell.Json = False) -> None:
    """Move a waiting job to the front of its lane, whatever it waits for."""
    with shell.one_job(job) as (queries, found):
        moved = jobs.run_next(queries, found, by=shell.author(reason))
        pauses = fleet.pauses_of_job(queries, found)
    if as_json:
        print_json({"id": found, **moved._asdict(), "paused": pauses})
        return
    typer.echo(f"{found}  is next")
    for pause in pauses:
        typer.echo(f"It still waits: {extent_of(pause.name)} is paused", err=True)


@app.command("retry")
def retry(job: shell.JobId, reason: shell.Reason = None, as_json: shell.Json = False) -> None:
    """Make a new job of one that failed or was cancelled, at today's price."""
    with shell.one_job(job) as (queries, found):
        new = jobs.replay_job(queries, found, by=shell.author(reason))
    if as_json:
        print_json({"retry_of": found, **new._asdict()})
    else:
        typer.echo(f"{new.id}  {new.status}{'  (was replayed before)' if new.duplicate else ''}")


@dead_app.command("list")
def list_dead(
    code: OnlyCode = None,
    user: OnlyUser = None,
    limit: shell.Limit = 50,
    cursor: Annotated[str | None, typer.Option(help="The cursor of the previous page.")] = None,
    as_json: shell.Json = False,
) -> None:
    """List failed jobs, the latest first."""
    with shell.database() as queries:
        page = jobs.list_dead_letters(queries, limit=limit, cursor=cursor, code=code, user=user)
    if as_json:
        print_json({"jobs": page.letters, "cursor": page.cursor})
    else:
        _print_dead_letters(page)


@dead_app.command("replay")
def replay_dead(
    named: shell.JobIds = None,
    code: OnlyCode = None,
    user: OnlyUser = None,
    kind: Kind = None,
    provider: Provider = None,
    batch: Batch = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to replay.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    reason: shell.Reason = None,
    as_json: shell.Json = False,
) -> int:
    """Make new jobs of failed ones: of those named, or of all jobs of the options that were not replayed yet."""
    chosen = _filter(code=code, user=user, kind=kind, provider=provider, batch=batch, older_than=older_than)
    if bool(named) == (chosen != Filter()):
        raise typer.BadParameter("name jobs, or choose them by --code, --user and the like")
    with shell.database() as queries:
        if named:
            ids = [shell.job_id(queries, text) for text in named]
        else:
            ids = list(islice(bulk.choose_jobs(queries, "replay", chosen), limit))
        results = [{"retry_of": job} if dry_run else _replay(queries, job, reason) for job in ids]
    _print_replays(results, dry_run=dry_run, as_json=as_json)
    return shell.FAILED if any("error" in result for result in results) else 0


def _filter(
    *,
    status: str | None = None,
    kind: str | None = None,
    provider: str | None = None,
    user: str | None = None,
    batch: str | None = None,
    worker: str | None = None,
    code: str | None = None,
    older_than: str | None = None,
) -> Filter:
    """The filter of a command's options. Raises typer.BadParameter."""
    try:
        return Filter(
            status=status,
            kind=kind,
            provider=provider,
            user=user,
            batch=None if batch is None else UUID(batch),
            worker=worker,
            code=code,
            older=None if older_than is None else parse_duration(older_than),
        )
    except ValueError as error:
        raise typer.BadParameter(f"--batch or --older-than: {error}") from None


def _check_alone(chosen: Filter, *, dry_run: bool) -> None:
    """One job is named, so no options may choose others."""
    if dry_run or chosen != Filter():
        raise typer.BadParameter("name one job, or choose many by options")


def _change_many(action: ActionName, chosen: Filter, *, dry_run: bool, reason: str | None, as_json: bool) -> int:
    """Change all chosen jobs, or count them; the exit status."""
    with shell.database() as queries:
        by_status = bulk.count_jobs(queries, action, chosen)
        expected = sum(by_status.values())
        if dry_run:
            parts = ", ".join(f"{number} {status}" for status, number in by_status.items())
            text = f"{_number(expected)} would be {DONE[action]}{f' ({parts})' if len(by_status) > 1 else ''}"
            _print(text, {"dry_run": True, "jobs": expected, "by_status": by_status}, as_json=as_json)
            return 0
        results = list(_with_progress(bulk.apply(queries, action, chosen, by=shell.author(reason)), expected))
    refused = [
        {"id": each.id, "code": each.refused.code, "message": str(each.refused)} for each in results if each.refused
    ]
    for each in [] if as_json else refused:
        typer.echo(f"{each['id']}  was not changed: {each['message']}", err=True)
    changed = len(results) - len(refused)
    result = {"dry_run": False, "jobs": changed, "refused": refused}
    _print(f"{_number(changed)} {DONE[action]}", result, as_json=as_json)
    return shell.FAILED if refused else 0


def _with_progress(results: Iterable[BulkResult], expected: int) -> Iterator[BulkResult]:
    """A progress bar on a terminal, a line every PROGRESS_EVERY jobs elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - only for a terminal
        from rich.progress import track  # noqa: PLC0415

        yield from track(results, total=expected, console=Console(stderr=True), transient=True)
        return
    for number, result in enumerate(results, start=1):
        if number % PROGRESS_EVERY == 0:
            sys.stderr.write(f"{number} of {expected}\n")
        yield result


def _replay(queries: query.Queries, job: UUID, reason: str | None) -> dict[str, Any]:
    """One job in a transaction of its own: a refusal, such as an empty account, does not affect the others."""
    try:
        return {"retry_of": job, **jobs.replay_job(queries, job, by=shell.author(reason))._asdict()}
    except (RequestRefused, InvalidPayload) as error:
        return {"retry_of": job, "error": {"code": error.code, "message": error.message}}


def _number(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _print(text: str, result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        typer.echo(text)


def _print_record(record: JobRecord) -> None:
    shown = {name: value for name, value in record.job.items() if value is not None}
    if record.queue_position is not None:
        shown["queue_position"] = _place(record.queue_position)
    print_facts(shown.items())
    typer.echo()
    _print_rows("Attempts", record.attempts, ("attempt", "outcome", "worker", "started_at", "seconds", "error_message"))
    _print_rows(
        "Provider calls", record.calls, ("number", "provider", "model", "provider_ref", "milliseconds", "spent")
    )
    _print_rows("Credits", record.entries, ("seq", "kind", "amount", "balance_after", "created_at"))


def _place(before: int) -> str:
    if before == 0:
        return "next"
    return f"{'≥ ' if before >= query.FAR else ''}{before:,} before it"


def _print_rows(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    cells = [[_cell(name, row[name]) for name in columns] for row in rows]
    print_table([name.replace("_", " ") for name in columns], cells, title=title)


def _cell(name: str, value: Any) -> Any:
    if name == "spent" and value is None:
        return "unknown"
    return span(value) if name == "seconds" else NOTHING if value is None else value


def _print_dead_letters(page: DeadLetters) -> None:
    rows = [
        [j.id, j.finished_at, j.user_id, j.kind, j.error_code, j.error_message, j.replayed_as] for j in page.letters
    ]
    print_table(COLUMNS, rows)
    if not rows:
        typer.echo("No job has failed.")
    if page.cursor is not None:
        typer.echo(f"There are more: --cursor {page.cursor}")


def _print_replays(results: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "count": len(results), "jobs": results})
        return
    for result in results:
        if dry_run:
            typer.echo(f"{result['retry_of']}  would be replayed")
        elif "error" in result:
            typer.echo(f"{result['retry_of']}  not replayed: {result['error']['message']}", err=True)
        else:
            typer.echo(f"{result['retry_of']}  replayed as {result['id']}")
    if dry_run and results:
        typer.echo(f"{len(results)} in all")
    if not results:
        typer.echo("No failed job is left to replay.")
