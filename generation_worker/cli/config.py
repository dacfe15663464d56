"""``config``: the settings of this process, and those of the whole fleet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from generation_worker.cli.database import database
from generation_worker.cli.options import Json, Reason
from generation_worker.cli.output import plain, print_json, print_table
from generation_worker.cli.problems import CommandFailed
from generation_worker.cli.settings import author, load

if TYPE_CHECKING:
    from generation_worker.config import Settings
    from generation_worker.db.answers.control import FleetSetting

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
        from generation_worker.db.fleet_settings import set_fleet_setting  # noqa: PLC0415 - not for --help

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
        from generation_worker.db.fleet_settings import unset_fleet_setting  # noqa: PLC0415 - not for --help

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
    from generation_worker.domain.control import FOLLOWED, LIMIT  # noqa: PLC0415 - not for --help

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
