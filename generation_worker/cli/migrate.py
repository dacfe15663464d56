"""``migrate``: the tables, and which providers may be named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.options import Json
from generation_worker.cli.output import print_json
from generation_worker.cli.problems import WRONG, CommandFailed
from generation_worker.cli.settings import load

if TYPE_CHECKING:
    from generation_worker.config import Settings

OFFER = "SELECT offer_providers(%s)"
LOSS = "What the tables beyond revision {} hold is lost. Go on?"


def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="Go up to this revision only.")] = "head",
    down: Annotated[
        str | None, typer.Option(metavar="REV|base", help="Go back to this revision; later tables are lost.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the database's tables up to date (over DIRECT_URL, if set)."""
    if down is not None and to != "head":
        raise typer.BadParameter("give --to or --down, not both")
    if down is not None and sys.stdin.isatty():
        typer.confirm(LOSS.format(down), abort=True, err=True)
    settings = load()
    conninfo = (settings.direct_database() or settings.require_database()).conninfo
    applied = _move(conninfo, to, down)
    offered = _offer(conninfo, settings) if to == "head" and down is None else []
    _say(conninfo, applied, offered, as_json=as_json)


def _move(conninfo: str, to: str, down: str | None) -> list[str]:
    from alembic.util.exc import CommandError  # noqa: PLC0415 - heavy

    from generation_worker.db import migrations  # noqa: PLC0415

    try:
        if down is None:
            return migrations.upgrade(conninfo, to)
        migrations.downgrade(conninfo, down)
    except CommandError:
        raise _unknown(migrations.current(conninfo), migrations.head(), to if down is None else down) from None
    return []


def _unknown(current: str | None, head: str, asked: str) -> CommandFailed:
    if current is not None and current > head:
        message = f"The database is at revision {current}; this version of generation-worker knows up to {head}."
        return CommandFailed("newer_database", message, "Run generation-worker migrate of the newer version", WRONG)
    return CommandFailed(
        "unknown_revision", f"There is no way to revision {asked} from {current or 'base'}.", "", WRONG
    )


def _offer(conninfo: str, settings: Settings) -> list[str]:
    from generation_worker.db.pool import connect  # noqa: PLC0415
    from generation_worker.registrations import configured_providers  # noqa: PLC0415

    names = configured_providers(settings)
    if names:
        with connect(conninfo, prepare=False) as connection:
            connection.execute(OFFER, [names])
    return names


def _say(conninfo: str, applied: list[str], offered: list[str], *, as_json: bool) -> None:
    from generation_worker.db import migrations  # noqa: PLC0415

    revision = migrations.current(conninfo)
    if as_json:
        print_json({"applied": applied, "revision": revision, "providers": offered})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo(f"The database is at revision {revision or 'base'}.")
    if offered:
        typer.echo(f"Jobs may name: {', '.join(offered)}.")
