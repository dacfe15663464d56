"""``config``, ``pause`` and ``resume``: settings of this process and of the whole fleet, and what the fleet starts."""

import sys
from typing import Annotated, Any

import psycopg
import typer

from generation_worker.cli.output import FAILED, plain, print_json, print_table
from generation_worker.cli.shell import CommandFailed, Json, Reason, author, database, load
from generation_worker.config import ConfigurationError, Settings, describe, parse_duration
from generation_worker.db import fleet
from generation_worker.domain.fleet import EVERYTHING, FOLLOWED, LIMIT, Extent, What

app = typer.Typer(help="Show the settings, and change those of the whole fleet.")

Provider = Annotated[str | None, typer.Option(help="Only jobs for this provider.")]
Kind = Annotated[str | None, typer.Option(help="Only jobs of this kind.")]
OfUser = Annotated[str | None, typer.Option("--user", help="Only this user's jobs.")]


@app.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show every setting, its value and its source. Settings of the fleet win. Secrets are not shown."""
    if context.invoked_subcommand is not None:
        return
    settings = load()
    of_fleet = _list_settings(settings)
    if as_json:
        _print_settings_as_json(settings, of_fleet)
    else:
        _print_settings(settings, of_fleet)


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
    with database() as queries:
        written = fleet.set_setting(queries, name, _parse(name, value), by=author(reason))
    if as_json:
        print_json({"name": name, "value": written})
    else:
        typer.echo(f"{name} is {_text(written)} now, {_scope_of(name)}")


@app.command("unset")
def unset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="price.KIND.PROVIDER, concurrency, …")],
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Remove a setting of the whole fleet: its default applies again."""
    with database() as queries:
        before = fleet.unset_setting(queries, name, by=author(reason))
    if as_json:
        print_json({"name": name, "was": before})
    elif before is None:
        typer.echo(f"{name} was not set")
    else:
        typer.echo(f"{name} is no longer {_text(before)}, {_scope_of(name)}")


def pause(
    provider: Provider = None, kind: Kind = None, user: OfUser = None, reason: Reason = None, as_json: Json = False
) -> None:
    """Start no more jobs, or none of one provider, kind or user. Running jobs continue, new jobs wait."""
    extent = _extent(provider, kind, user)
    with database() as queries:
        changed = fleet.pause(queries, extent, by=author(reason))
        moved = sum(fleet.park_paused_jobs(queries))
    if as_json:
        print_json({"paused": str(extent), "was_paused": not changed, "put_aside": moved})
    else:
        already = "" if changed else " (it was already)"
        typer.echo(f"{extent} is paused{already}; resume with generation-worker resume")


def resume(
    provider: Provider = None, kind: Kind = None, user: OfUser = None, reason: Reason = None, as_json: Json = False
) -> int:
    """End a pause; pauses of larger or smaller extents stay."""
    extent = _extent(provider, kind, user)
    with database() as queries:
        was_paused = fleet.resume(queries, extent, by=author(reason))
        for _ in fleet.park_paused_jobs(queries):
            pass
        still = fleet.list_pauses(queries)
    if as_json:
        print_json({"resumed": str(extent), "was_paused": was_paused, "still_paused": still})
    elif was_paused:
        typer.echo(f"{extent} is resumed")
    else:
        typer.echo(f"{extent} was not paused; generation-worker status lists all pauses", err=True)
    return 0 if was_paused else FAILED


def _extent(provider: str | None, kind: str | None, user: str | None) -> Extent:
    whats: dict[What, str | None] = {"provider": provider, "kind": kind, "user": user}
    named = [Extent(what, name) for what, name in whats.items() if name is not None]
    if len(named) > 1:
        raise typer.BadParameter("name a provider, a kind or a user, one at a time")
    if named and not named[0].name:
        raise typer.BadParameter(f"--{named[0].what}: must not be empty")
    return named[0] if named else EVERYTHING


def _parse(name: str, value: str) -> Any:
    """An interval may be written as a duration, as in the environment."""
    if name != "poll_interval":
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {error}") from None


def _scope_of(name: str) -> str:
    if name.startswith(LIMIT):
        return "for all workers together"
    return "in every worker within a heartbeat" if name in FOLLOWED else "for jobs enqueued from now on"


def _list_settings(settings: Settings) -> list[fleet.FleetSetting] | str:
    """The fleet's settings, or why they are unknown."""
    try:
        with database(settings) as queries:
            return fleet.list_settings(queries)
    except (ConfigurationError, CommandFailed) as error:
        return str(error.message if isinstance(error, CommandFailed) else error)
    except psycopg.Error as error:
        return f"The database does not answer: {' '.join(str(error).split())}"


def _print_settings_as_json(settings: Settings, of_fleet: list[fleet.FleetSetting] | str) -> None:
    known = not isinstance(of_fleet, str)
    print_json(
        {
            "settings": [_as_object(row) for row in describe(settings, of_fleet if known else ())],
            "notices": settings.notices,
            "fleet": plain(of_fleet) if known else None,
            "fleet_problem": None if known else of_fleet,
        }
    )


def _as_object(row: Any) -> dict[str, Any]:
    return {name: plain(getattr(row, name)) for name in row.__slots__}


def _print_settings(settings: Settings, of_fleet: list[fleet.FleetSetting] | str) -> None:
    rows = describe(settings, () if isinstance(of_fleet, str) else of_fleet)
    cells = [[row.name, row.value, row.source, row.default] for row in rows]
    print_table(("setting", "value", "from", "default"), cells, title="This process")
    if isinstance(of_fleet, str):
        sys.stderr.write(f"The fleet's settings are not known. {of_fleet}\n")
    else:
        changed = [[s.name, _text(s.value), s.updated_by, s.updated_at] for s in of_fleet]
        print_table(("setting", "value", "by", "since"), changed, title="The whole fleet")
    for notice in settings.notices:
        sys.stderr.write(f"Notice: {notice}\n")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
