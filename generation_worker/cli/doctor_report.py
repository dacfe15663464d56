"""The report of ``doctor``, a line for each finding as soon as those before it are known."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

from generation_worker.cli.output import text
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
