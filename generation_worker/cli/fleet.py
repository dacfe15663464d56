"""``config``: the settings of this process, and those of the whole fleet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from generation_worker.cli.output import plain, print_json, print_table
from generation_worker.cli.shell import FAILED, CommandFailed, Json, Reason, author, database, load
from generation_worker.domain.fleet import EVERYTHING, Extent, What

if TYPE_CHECKING:
    from generation_worker.config import Settings
    from generation_worker.db.audit_trail import FleetSetting

app = typer.Typer(help="Show the settings, and change those of the whole fleet.")


@app.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show every setting, its value and where that came from: what the fleet has set wins. Secrets are not shown."""
    if context.invoked_subcommand is not None:
        return
    settings = load()
    fleet = _fleet(settings)
    if as_json:
        _print_as_json(settings, fleet)
    else:
        _print(settings, fleet)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="price.KIND[.PROVIDER], seconds_per_credit, …")],
    value: Annotated[str, typer.Argument(metavar="VALUE")],
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Change a setting of the whole fleet: price.KIND, price.KIND.PROVIDER, seconds_per_credit, credits_low,
    caller_may_set_cost, default_provider; concurrency, poll_interval and calls_per_minute.PROVIDER or .KEY, while
    workers run."""
    with database() as own, own.connection() as connection:
        from generation_worker.db.fleet import set_fleet_setting  # noqa: PLC0415 - not for --help

        kept = set_fleet_setting(connection, name, _as_number(name, value), by=author(reason))
    if as_json:
        print_json({"name": name, "value": kept})
    else:
        typer.echo(f"{name} is {_text(kept)} now, {_for_whom(name)}")


@app.command("unset")
def unset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="price.KIND.PROVIDER, concurrency, …")],
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Take a setting of the whole fleet back: what stands behind it holds again."""
    with database() as own, own.connection() as connection:
        from generation_worker.db.fleet import unset_fleet_setting  # noqa: PLC0415 - not for --help

        before = unset_fleet_setting(connection, name, by=author(reason))
    if as_json:
        print_json({"name": name, "was": before})
    elif before is None:
        typer.echo(f"{name} was not set")
    else:
        typer.echo(f"{name} is no longer {_text(before)}, {_for_whom(name)}")


def _as_number(name: str, value: str) -> Any:
    """An interval may be written as a duration, as in the environment."""
    from generation_worker.config import parse_duration  # noqa: PLC0415 - not for --help

    if name != "poll_interval":
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {error}") from None


def _for_whom(name: str) -> str:
    from generation_worker.domain.fleet import FOLLOWED, LIMIT  # noqa: PLC0415 - not for --help

    if name.startswith(LIMIT):
        return "for all workers together"
    return "in every worker within a heartbeat" if name in FOLLOWED else "for jobs enqueued from here on"


def _fleet(settings: Settings) -> list[FleetSetting] | str:
    """The fleet's settings, or why they are not known."""
    from psycopg import Error  # noqa: PLC0415 - not for --help

    from generation_worker.config import ConfigurationError  # noqa: PLC0415
    from generation_worker.db.insights import Insights  # noqa: PLC0415

    try:
        with database(settings) as own:
            return Insights(own).fleet_settings()
    except (ConfigurationError, CommandFailed) as error:
        return str(error.message if isinstance(error, CommandFailed) else error)
    except Error as error:
        return f"The database does not answer: {' '.join(str(error).split())}"


def _print_as_json(settings: Settings, fleet: list[FleetSetting] | str) -> None:
    from generation_worker.config import describe  # noqa: PLC0415 - not for --help

    known = not isinstance(fleet, str)
    print_json(
        {
            "settings": [_as_object(row) for row in describe(settings, fleet if known else ())],
            "notices": settings.notices,
            "fleet": plain(fleet) if known else None,
            "fleet_problem": None if known else fleet,
        }
    )


def _as_object(row: Any) -> dict[str, Any]:
    return {name: plain(getattr(row, name)) for name in row.__slots__}


def _print(settings: Settings, fleet: list[FleetSetting] | str) -> None:
    from generation_worker.config import describe  # noqa: PLC0415 - not for --help

    rows = describe(settings, () if isinstance(fleet, str) else fleet)
    cells = [[row.name, row.value, row.source, row.default] for row in rows]
    print_table(("setting", "value", "from", "default"), cells, title="This process")
    if isinstance(fleet, str):
        sys.stderr.write(f"The fleet's settings are not known. {fleet}\n")
    else:
        changed = [[s.name, _text(s.value), s.updated_by, s.updated_at] for s in fleet]
        print_table(("setting", "value", "by", "since"), changed, title="The whole fleet")
    for notice in settings.notices:
        sys.stderr.write(f"Notice: {notice}\n")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


# ``pause`` and ``resume``: everything, one provider, one kind or one user, in the whole fleet at once.


if TYPE_CHECKING:
    from generation_worker.db.connections import OwnConnection

Provider = Annotated[str | None, typer.Option(help="Only what this provider makes.")]
Kind = Annotated[str | None, typer.Option(help="Only jobs of this kind.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only this user's jobs.")]


def pause(
    provider: Provider = None, kind: Kind = None, user: OfUser = None, reason: Reason = None, as_json: Json = False
) -> None:
    """Let no worker start anything, or nothing of one provider, kind or user. What runs goes on, new jobs wait."""
    from generation_worker.db import fleet as pauses  # noqa: PLC0415 - not for --help

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
    from generation_worker.db import fleet as pauses  # noqa: PLC0415 - not for --help
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
    from generation_worker.db import fleet as pauses  # noqa: PLC0415 - not for --help

    with own.connection() as connection:
        return sum(pauses.put_aside(connection))
