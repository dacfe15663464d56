"""``dead``: jobs that ended for good without an image."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from generation_worker.cli.bulk import Batch, Kind, Older, Provider, choose
from generation_worker.cli.database import database, job_id
from generation_worker.cli.options import JobIds, Json, Limit, Reason
from generation_worker.cli.output import print_json, print_table
from generation_worker.cli.problems import FAILED
from generation_worker.cli.settings import author

if TYPE_CHECKING:
    from generation_worker.db.answers.results import DeadLetters
    from generation_worker.db.pool import OwnConnection

app = typer.Typer(help="Look at jobs that failed for good, and replay them.", no_args_is_help=True)

Code = Annotated[str | None, typer.Option(help="Only those with this error code.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only this user's.")]
COLUMNS = ("job", "failed at", "user", "kind", "code", "message", "replayed as")


@app.command("list")
def list_letters(
    code: Code = None,
    user: OfUser = None,
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
        _show(page)


@app.command("replay")
def replay(
    jobs: JobIds = None,
    code: Code = None,
    user: OfUser = None,
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
    _say(answers, dry_run=dry_run, as_json=as_json)
    return FAILED if any("error" in answer for answer in answers) else 0


def _replay(own: OwnConnection, job: UUID, reason: str | None) -> dict[str, Any]:
    """One at a time: that one user cannot pay keeps no other's job from its second chance."""
    from generation_worker.db import operations  # noqa: PLC0415 - not for --help
    from generation_worker.domain.errors import InvalidPayload  # noqa: PLC0415
    from generation_worker.domain.refusals import EnqueueRefused  # noqa: PLC0415

    try:
        with own.connection() as connection:
            return {"retry_of": job, **operations.replay_job(connection, job, by=author(reason))._asdict()}
    except (EnqueueRefused, InvalidPayload) as error:
        return {"retry_of": job, "error": {"code": error.code, "message": error.message}}


def _say(answers: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
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


def _show(page: DeadLetters) -> None:
    rows = [
        [j.id, j.finished_at, j.user_id, j.kind, j.error_code, j.error_message, j.replayed_as] for j in page.letters
    ]
    print_table(COLUMNS, rows)
    if not rows:
        typer.echo("No job has failed.")
    if page.cursor is not None:
        typer.echo(f"There are more: --cursor {page.cursor}")
