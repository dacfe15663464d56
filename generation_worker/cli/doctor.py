"""``doctor``: runs the checks and prints each finding as soon as those before it are known."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Annotated, Self, TextIO

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from generation_worker.cli.output import print_json, text
from generation_worker.cli.shell import FAILED, WRONG, Json
from generation_worker.config import examine_settings
from generation_worker.doctor.check import Check
from generation_worker.doctor.run import CheckEnded, CheckStarted, Event, Examination, run_checks
from generation_worker.domain.finding import Finding
from generation_worker.log.redaction import hide_secrets

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}
WIDTH = max(map(len, STYLES))


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
    settings, problems = examine_settings()
    hide_secrets(settings.secret_values())
    with closing(Examination(settings, problems, limit=timeout)) as examination:
        try:
            areas = examination.areas(_names(only or []))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--only") from None
        findings = list(_examine(areas, timeout, as_json=as_json))
    if as_json:
        print_json(findings)
    return _exit_status(findings)


def _names(only: list[str]) -> list[str]:
    return [name.strip() for part in only for name in part.split(",") if name.strip()]


def _examine(areas: list[list[Check]], limit: float, *, as_json: bool) -> Iterator[Finding]:
    """The findings in the order of the report, printed as they come unless JSON was asked for."""
    names = [check.name for checks in areas for check in checks]
    with FindingsPrinter(names, sys.stderr if as_json else sys.stdout, silent=as_json) as printer:
        for event in run_checks(areas, limit=limit):
            yield from printer.add(event)


def _exit_status(findings: list[Finding]) -> int:
    faults = {finding.check for finding in findings if finding.status == "fault"}
    if "settings" in faults:
        return WRONG
    return FAILED if faults else 0


class FindingsPrinter:
    """Prints findings in the order of ``names``, the checks. If ``silent``, only a terminal shows which checks run."""

    def __init__(self, names: Sequence[str], stream: TextIO, *, silent: bool) -> None:
        self._names = list(names)
        self._width = max(map(len, names), default=0)
        self._silent = silent
        self._console, self._progress = _terminal(stream)
        self._running: list[str] = []
        self._waiting: dict[str, list[Finding]] = {}
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

    def add(self, event: Event) -> Iterator[Finding]:
        """Print the findings whose turn has come, and return them."""
        match event:
            case CheckStarted(name):
                self._running.append(name)
            case CheckEnded(name, findings):
                self._running.remove(name)
                self._waiting[name] = findings
        if self._progress is not None:
            self._progress.update(_progress_line(self._running), refresh=True)
        while self._names and self._names[0] in self._waiting:
            for finding in self._waiting[self._names.pop(0)]:
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
        parts = [f"{counts[one]} {one if counts[one] == 1 else many}" for one, many in names.items() if counts[one]]
        return f"\n{', '.join(parts)}."

    def _print(self, line: str, status: str) -> None:
        if self._console is None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            return
        shown = Text(line)  # a Text: what others wrote is no markup
        shown.stylize(STYLES.get(status, ""), 0, WIDTH)
        self._console.print(shown, soft_wrap=True)


def _terminal(stream: TextIO) -> tuple[Console | None, Live | None]:
    """A console and a line for the running checks, if ``stream`` is a terminal."""
    if not stream.isatty():
        return None, None
    console = Console(file=stream)
    return console, Live(console=console, transient=True)


def _progress_line(checks: Sequence[str]) -> Spinner:
    """A line that moves, cut to the width of the terminal."""
    return Spinner("dots", Text(f"checking {', '.join(checks)}", no_wrap=True, overflow="ellipsis"))
