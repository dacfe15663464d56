"""``audit``: what people and keys have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.database import database
from generation_worker.cli.options import Json, Limit, read_past
from generation_worker.cli.output import print_json, print_table

if TYPE_CHECKING:
    from generation_worker.db.answers.control import AuditEvent

COLUMNS = ("event", "at", "who", "did", "to", "before", "after", "reason")


def audit(
    actor: Annotated[str | None, typer.Option(help="Only whose name begins so: cli:ada, key:")] = None,
    action: Annotated[str | None, typer.Option(help="Only what begins so: job., credits.grant, pause")] = None,
    target: Annotated[
        str | None, typer.Option(help="Only to what begins so: job:01…, user:ada, setting:price.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME|-1h", help="Only from then on.")] = None,
    before: Annotated[int | None, typer.Option(metavar="EVENT", help="Only events before this one.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show what people and keys have changed, the latest first. (The books are checked by credits audit.)"""
    moment = read_past(since) if since else None
    with database() as own:
        from generation_worker.db.insights import LAST_EVENT, Insights  # noqa: PLC0415 - not for --help

        end = LAST_EVENT if before is None else before
        found = Insights(own).audit_events(
            actor=actor, action=action, target=target, since=moment, before=end, limit=limit
        )
    if as_json:
        print_json({"events": found, "before": found[-1].id if len(found) == limit else None})
    else:
        _show(found, limit)


def _show(found: list[AuditEvent], limit: int) -> None:
    rows = [[e.id, e.at, e.actor, e.action, e.target, e.before, e.after, e.reason] for e in found]
    print_table(COLUMNS, rows)
    if not found:
        typer.echo("Nothing was changed by anybody, as far as was asked.")
    if len(found) == limit:
        typer.echo(f"There may be more: --before {found[-1].id}")
