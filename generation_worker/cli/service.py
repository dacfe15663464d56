"""``run``: a worker. ``migrate``: its tables, and which providers jobs may name."""

import sys
from typing import Annotated

import typer

from generation_worker import wiring
from generation_worker.cli.output import print_json
from generation_worker.cli.shell import WRONG, CommandFailed, Json, load
from generation_worker.config import DatabaseAddress, Settings
from generation_worker.db import connections, migrations, query
from generation_worker.registrations import configured_providers

LOSS = "What the tables beyond revision {} hold is lost. Go on?"


def run(
    concurrency: Annotated[int | None, typer.Option(help="Jobs at once; WORKER_CONCURRENCY.")] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing can be done now.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP server; PORT.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical; LOG_LEVEL.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json, console or auto; LOG_FORMAT.")] = None,
) -> int:
    """Work on jobs until stopped (SIGTERM or Ctrl-C)."""
    settings = load(concurrency=concurrency, port=port, log_level=log_level, log_format=log_format)
    return wiring.run(settings, until_empty=until_empty)


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
    address = settings.direct_database() or settings.require_database()
    applied = _move(address, to, down)
    offered = _offer(address, settings) if to == "head" and down is None else []
    _print(address, applied, offered, as_json=as_json)


def _move(address: DatabaseAddress, to: str, down: str | None) -> list[str]:
    from alembic.util.exc import CommandError  # noqa: PLC0415 - `run`, beside it, does without Alembic

    try:
        if down is None:
            return migrations.upgrade(address.conninfo, to, schema=address.schema)
        migrations.downgrade(address.conninfo, down, schema=address.schema)
    except CommandError:
        current = migrations.current(address.conninfo, schema=address.schema)
        raise _unknown_revision(current, migrations.head(), to if down is None else down) from None
    return []


def _unknown_revision(current: str | None, head: str, wanted: str) -> CommandFailed:
    if current is not None and current > head:
        message = f"The database is at revision {current}; this version of generation-worker knows up to {head}."
        return CommandFailed("newer_database", message, "Run generation-worker migrate of the newer version", WRONG)
    return CommandFailed(
        "unknown_revision", f"There is no way to revision {wanted} from {current or 'base'}.", "", WRONG
    )


def _offer(address: DatabaseAddress, settings: Settings) -> list[str]:
    names = configured_providers(settings)
    if names:
        with connections.connect(address.conninfo, prepare=False) as connection:
            query.Queries.on(connection, schema=address.schema).execute("offer_providers", providers=names)
    return names


def _print(address: DatabaseAddress, applied: list[str], offered: list[str], *, as_json: bool) -> None:
    revision = migrations.current(address.conninfo, schema=address.schema)
    if as_json:
        print_json({"applied": applied, "revision": revision, "providers": offered})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo(f"The schema {address.schema} is at revision {revision or 'base'}.")
    if offered:
        typer.echo(f"Jobs may name: {', '.join(offered)}.")
