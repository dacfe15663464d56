"""The report of ``doctor``, a line for each finding as soon as those before it are known."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TextIO

import typer

from generation_worker.cli.output import print_json, text
from generation_worker.cli.shell import FAILED, WRONG, CommandFailed, Json, load, secrets
from generation_worker.doctor.run import Ended, Event, Started

if TYPE_CHECKING:
    from generation_worker.domain.finding import Finding

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}
WIDTH = max(map(len, STYLES))


class Report:
    """``names`` are the checks in their order. If ``silent``, a terminal shows what is looked at, and nothing else."""

    def __init__(self, names: Sequence[str], stream: TextIO, *, silent: bool) -> None:
        self._names = list(names)
        self._width = max(map(len, names), default=0)
        self._silent = silent
        self._console, self._progress = _terminal(stream)
        self._running: list[str] = []
        self._known: dict[str, list[Finding]] = {}
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if not self._silent:
            self._print(self._summary(), "")

    def tell(self, event: Event) -> Iterator[Finding]:
        """The findings that can be told now, which have been shown."""
        match event:
            case Started(name):
                self._running.append(name)
            case Ended(name, findings):
                self._running.remove(name)
                self._known[name] = findings
        if self._progress is not None:
            self._progress.update(_looking_at(self._running), refresh=True)
        while self._names and self._names[0] in self._known:
            for finding in self._known[self._names.pop(0)]:
                self._show(finding)
                yield finding

    def _show(self, finding: Finding) -> None:
        self._counts[finding.status] += 1
        if self._silent:
            return
        took = f"  ({finding.milliseconds} ms)" if finding.status != "skipped" else ""
        line = f"{finding.check:<{self._width}}  {text(finding.detail)}{took}"
        self._print(f"{finding.status:<{WIDTH}}  {line}", finding.status)
        if finding.remedy:
            self._print(f"{'':<{WIDTH}}  {text(finding.remedy)}", "")

    def _summary(self) -> str:
        counts = self._counts
        names = {"fault": "faults", "warning": "warnings", "ok": "ok", "skipped": "skipped"}
        told = [f"{counts[one]} {one if counts[one] == 1 else many}" for one, many in names.items() if counts[one]]
        return f"\n{', '.join(told)}."

    def _print(self, line: str, status: str) -> None:
        if self._console is None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            return
        from rich.text import Text  # noqa: PLC0415 - a Text: what others wrote is no markup

        shown = Text(line)
        shown.stylize(STYLES.get(status, ""), 0, WIDTH)
        self._console.print(shown, soft_wrap=True)


def _terminal(stream: TextIO) -> tuple[Any, Any]:
    """A console and a line that says what is going on, if there is a terminal."""
    if not stream.isatty():
        return None, None
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=stream)
    return console, Live(console=console, transient=True)


def _looking_at(checks: Sequence[str]) -> Any:
    """A line that moves, as long as the terminal is wide."""
    from rich.spinner import Spinner  # noqa: PLC0415 - only for a terminal
    from rich.text import Text  # noqa: PLC0415

    return Spinner("dots", Text(f"looking at {', '.join(checks)}", no_wrap=True, overflow="ellipsis"))


# ``demo``: everything to see, with a database of its own.


def demo(
    photo: Annotated[list[Path] | None, typer.Option(help="A photo of yours to put in; may be given again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the worker running afterwards, until Ctrl-C.")] = False,
    directory: Annotated[Path, typer.Option(help="Where the pictures and the database go.")] = Path(".demo"),
    show_all: Annotated[bool, typer.Option("--all", help="Report every job.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Serve the dashboard and the health page there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> int:
    """Watch a worker make pictures, on a machine that has nothing set up."""
    from generation_worker.demo import run_demo  # noqa: PLC0415 - heavy

    return run_demo(photos=photo or [], keep=keep, directory=directory, show_all=show_all, as_json=as_json, port=port)


# ``doctor``: what is wrong, and what to do about it.


if TYPE_CHECKING:
    from generation_worker.doctor.check import Check
    from generation_worker.domain.finding import Finding

SETTINGS = "settings"


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AREA,…", help="Only these: settings, database, storage, providers, images, fleet, machine."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Most seconds for one check.")] = 20.0,
    as_json: Json = False,
) -> int:
    """Check everything that a worker needs, with a remedy for each fault. Changes nothing and spends nothing."""
    from generation_worker.config import examine_settings  # noqa: PLC0415 - not for --help
    from generation_worker.doctor.run import Examination  # noqa: PLC0415
    from generation_worker.log.redaction import hide_secrets  # noqa: PLC0415

    settings, problems = examine_settings()
    secrets.extend(settings.secret_values())
    hide_secrets(secrets)
    with closing(Examination(settings, problems, limit=timeout)) as examination:
        try:
            areas = examination.areas(_names(only or []))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--only") from None
        findings = list(_examine(areas, timeout, as_json=as_json))
    if as_json:
        print_json(findings)
    return _status(findings)


def _names(only: list[str]) -> list[str]:
    return [name.strip() for part in only for name in part.split(",") if name.strip()]


def _examine(areas: list[list[Check]], limit: float, *, as_json: bool) -> Iterator[Finding]:
    """The findings in the order of the report, told while they come unless JSON was asked for."""
    from generation_worker.doctor.run import run  # noqa: PLC0415

    names = [check.name for checks in areas for check in checks]
    with Report(names, sys.stderr if as_json else sys.stdout, silent=as_json) as report:
        for event in run(areas, limit=limit):
            yield from report.tell(event)


def _status(findings: list[Finding]) -> int:
    faults = {finding.check for finding in findings if finding.status == "fault"}
    if SETTINGS in faults:
        return WRONG
    return FAILED if faults else 0


# ``migrate``: the tables, and which providers may be named.


if TYPE_CHECKING:
    from generation_worker.config import DatabaseAddress, Settings

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
    address = settings.direct_database() or settings.require_database()
    applied = _move(address, to, down)
    offered = _offer(address, settings) if to == "head" and down is None else []
    _say(address, applied, offered, as_json=as_json)


def _move(address: DatabaseAddress, to: str, down: str | None) -> list[str]:
    from alembic.util.exc import CommandError  # noqa: PLC0415 - heavy

    from generation_worker.db import migrations  # noqa: PLC0415

    try:
        if down is None:
            return migrations.upgrade(address.conninfo, to, schema=address.schema)
        migrations.downgrade(address.conninfo, down, schema=address.schema)
    except CommandError:
        current = migrations.current(address.conninfo, schema=address.schema)
        raise _unknown(current, migrations.head(), to if down is None else down) from None
    return []


def _unknown(current: str | None, head: str, asked: str) -> CommandFailed:
    if current is not None and current > head:
        message = f"The database is at revision {current}; this version of generation-worker knows up to {head}."
        return CommandFailed("newer_database", message, "Run generation-worker migrate of the newer version", WRONG)
    return CommandFailed(
        "unknown_revision", f"There is no way to revision {asked} from {current or 'base'}.", "", WRONG
    )


def _offer(address: DatabaseAddress, settings: Settings) -> list[str]:
    from generation_worker.db.connections import connect  # noqa: PLC0415
    from generation_worker.db.query import Queries  # noqa: PLC0415
    from generation_worker.registrations import configured_providers  # noqa: PLC0415

    names = configured_providers(settings)
    if names:
        with connect(address.conninfo, prepare=False) as connection:
            Queries.on(connection, schema=address.schema).execute("offer_providers", providers=names)
    return names


def _say(address: DatabaseAddress, applied: list[str], offered: list[str], *, as_json: bool) -> None:
    from generation_worker.db import migrations  # noqa: PLC0415

    revision = migrations.current(address.conninfo, schema=address.schema)
    if as_json:
        print_json({"applied": applied, "revision": revision, "providers": offered})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo(f"The schema {address.schema} is at revision {revision or 'base'}.")
    if offered:
        typer.echo(f"Jobs may name: {', '.join(offered)}.")


# ``run``: a worker.


def run(
    concurrency: Annotated[int | None, typer.Option(help="Jobs at once; WORKER_CONCURRENCY.")] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing can be done now.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP server; PORT.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical; LOG_LEVEL.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json, console or auto; LOG_FORMAT.")] = None,
) -> int:
    """Work on jobs until told to stop (SIGTERM or Ctrl-C)."""
    settings = load(concurrency=concurrency, port=port, log_level=log_level, log_format=log_format)
    from generation_worker import wiring  # noqa: PLC0415 - heavy

    return wiring.run(settings, until_empty=until_empty)
