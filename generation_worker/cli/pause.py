"""``pause`` and ``resume``: everything, one provider, one kind or one user, in the whole fleet at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.database import database
from generation_worker.cli.options import Json, Reason
from generation_worker.cli.output import print_json
from generation_worker.cli.problems import FAILED
from generation_worker.cli.settings import author
from generation_worker.domain.pause import EVERYTHING, Extent, What

if TYPE_CHECKING:
    from generation_worker.db.pool import OwnConnection

Provider = Annotated[str | None, typer.Option(help="Only what this provider makes.")]
Kind = Annotated[str | None, typer.Option(help="Only jobs of this kind.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only this user's jobs.")]


def pause(
    provider: Provider = None, kind: Kind = None, user: OfUser = None, reason: Reason = None, as_json: Json = False
) -> None:
    """Let no worker start anything, or nothing of one provider, kind or user. What runs goes on, new jobs wait."""
    from generation_worker.db import pauses  # noqa: PLC0415 - not for --help

    extent = _extent(provider, kind, user)
    with database() as own:
        with own.connection() as connection:
            news = pauses.pause(connection, extent, by=author(reason))
        moved = _put_aside(own)
    if as_json:
        print_json({"paused": str(extent), "was_paused": not news, "put_aside": moved})
    else:
        typer.echo(f"{extent} is paused{'' if news else ' (it was already)'}; resume with generation-worker resume")


def resume(
    provider: Provider = None, kind: Kind = None, user: OfUser = None, reason: Reason = None, as_json: Json = False
) -> int:
    """End a pause; one that holds more, or less, stays."""
    from generation_worker.db import pauses  # noqa: PLC0415 - not for --help
    from generation_worker.db.insights import Insights  # noqa: PLC0415

    extent = _extent(provider, kind, user)
    with database() as own:
        with own.connection() as connection:
            was_paused = pauses.resume(connection, extent, by=author(reason))
        _put_aside(own)
        still = Insights(own).pauses()
    if as_json:
        print_json({"resumed": str(extent), "was_paused": was_paused, "still_paused": still})
    elif was_paused:
        typer.echo(f"{extent} is resumed")
    else:
        typer.echo(f"{extent} was not paused; see generation-worker status for what is", err=True)
    return 0 if was_paused else FAILED


def _extent(provider: str | None, kind: str | None, user: str | None) -> Extent:
    whats: dict[What, str | None] = {"provider": provider, "kind": kind, "user": user}
    named = [Extent(what, name) for what, name in whats.items() if name is not None]
    if len(named) > 1:
        raise typer.BadParameter("name a provider, a kind or a user, one at a time")
    if named and not named[0].name:
        raise typer.BadParameter(f"--{named[0].what}: must not be empty")
    return named[0] if named else EVERYTHING


def _put_aside(own: OwnConnection) -> int:
    """Out of the claims' way, or back; a long line takes a while."""
    from generation_worker.db import pauses  # noqa: PLC0415 - not for --help

    with own.connection() as connection:
        return sum(pauses.put_aside(connection))
