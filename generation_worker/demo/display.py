"""Shows the progress of the scene and its news: a live picture on a terminal, a line a second elsewhere."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from generation_worker.demo.scene import STUDIO
from generation_worker.demo.stage import FINAL, Progress

STATUSES = {
    "waiting": {"pending": "white", "scheduled": "yellow", "rate_limited": "yellow"},
    "at work": {"processing": "cyan"},
    "ended": {"completed": "green", "failed": "red", "cancelled": "magenta"},
}
"""In the order of a job's life, with their colors."""
BLOCKS = " ▁▂▃▄▅▆▇█"
NEWS_KEPT = 6
BAR = 40
OWN_BARS = (STUDIO, "boutique", "newspaper")
"""Users with a bar of their own; the others, who have one job each, share one."""


class Display(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, progress: Progress, news: Iterable[str]) -> None:
        """Called several times a second."""
        ...


class JobRate:
    """The number of jobs that ended in each of the last seconds."""

    def __init__(self, seconds: int) -> None:
        self._ended: deque[int] = deque([0] * seconds, maxlen=seconds)
        self._second = 0
        self._before = 0

    def note(self, progress: Progress) -> None:
        for _ in range(int(progress.seconds) - self._second):
            final = progress.count(*FINAL)
            self._ended.append(final - self._before)
            self._before = final
        self._second = int(progress.seconds)

    @property
    def latest(self) -> float:
        """Jobs per second, over the last three."""
        return sum(list(self._ended)[-3:]) / 3

    def line(self) -> str:
        top = max(*self._ended, 1)
        return "".join(BLOCKS[-(-number * (len(BLOCKS) - 1) // top)] for number in self._ended)


class PlainLines:
    """Progress for a pipe, a file, the log of a CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = JobRate(3)
        self._second = -1
        self._written: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, progress: Progress, news: Iterable[str]) -> None:
        self._pace.note(progress)
        for text in news:
            self._write(progress, text)
        summary = self._summary(progress)
        if int(progress.seconds) != self._second and summary != self._written:
            self._second, self._written = int(progress.seconds), summary
            self._write(progress, summary)

    def _summary(self, progress: Progress) -> str:
        final, working, waiting = (
            progress.count(*FINAL),
            progress.count("processing"),
            progress.count(*STATUSES["waiting"]),
        )
        total, pace = progress.total(progress.users), self._pace.latest
        return f"{final} of {total} done · {working} working · {waiting} waiting · {pace:.0f} jobs/s"

    def _write(self, progress: Progress, text: str) -> None:
        self._console.print(f"{progress.seconds:5.1f} s  {text}", highlight=False, markup=False)


class LivePicture:
    """Progress for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = JobRate(BAR)
        self._news: deque[Text] = deque(maxlen=NEWS_KEPT)

    def __enter__(self) -> Self:
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress, news: Iterable[str]) -> None:
        self._pace.note(progress)
        self._news.extend(Text(f"{progress.seconds:5.1f} s  {text}", "dim") for text in news)
        self._live.update(self._picture(progress), refresh=True)

    def _picture(self, progress: Progress) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for width in (22, BAR, None):
            grid.add_column(width=width)
        for title, statuses in STATUSES.items():
            grid.add_row(Text(title), _counts(progress, statuses))
        for title, users in _groups(progress.users):
            _add_bar(grid, title, progress.final(users), progress.total(users))
        grid.add_row(Text("jobs per second"), Text(self._pace.line(), "green"), f"{self._pace.latest:.0f} now")
        return Group(Text(f"{progress.seconds:5.1f} s", "bold"), grid, Text(), *self._news)


class NewsFeed:
    """Collects news from the worker's events, in the worker's threads, for the display.

    News are sentences for people, only about what is out of the ordinary: else there would be ten a second.
    """

    def __init__(self) -> None:
        self._news: SimpleQueue[str] = SimpleQueue()
        self.settled: Counter[str] = Counter()
        """How many attempts ended, by outcome."""

    def observe(self, name: str, fields: dict[str, Any]) -> None:
        """A listener for ``Events.subscribe``."""
        if name == "attempt.settled":
            self.settled[fields["outcome"]] += 1
        phrase = PHRASES.get(name)
        if phrase is not None and (text := phrase(fields)):
            self._news.put(text)

    def announce(self, text: str) -> None:
        self._news.put(text)

    def take(self) -> Iterator[str]:
        """The news since the last call."""
        while True:
            try:
                yield self._news.get_nowait()
            except Empty:
                return


def display_on(console: Console) -> Display:
    return LivePicture(console) if console.is_terminal else PlainLines(console)


def _counts(progress: Progress, statuses: Mapping[str, str]) -> Text:
    """The number of jobs in each state that has any; "0" if none has."""
    numbers = [(progress.count(status), status.replace("_", " "), color) for status, color in statuses.items()]
    return Text(" · ").join(Text(f"{number} {name}", color) for number, name, color in numbers if number) or Text("0")


def _groups(users: list[str]) -> Iterator[tuple[str, list[str]]]:
    yield "everybody", users
    for user in OWN_BARS:
        yield user, [user]
    others = [user for user in users if user not in OWN_BARS]
    yield f"{len(others)} others, a job each", others


def _add_bar(table: Table, title: str, done: int, total: int) -> None:
    style = "green" if title == "everybody" else "cyan"
    bar = ProgressBar(total=max(total, 1), completed=done, width=BAR, complete_style=style, finished_style=style)
    table.add_row(Text(title), bar, f"{done} of {total}")


def _settled(fields: dict[str, Any]) -> str | None:
    user, status, delay = fields["user"], fields["status"], fields["delay"]
    if status == "completed":
        attempt = fields["attempt"]
        return f"{user}: completed at attempt {attempt}" if attempt > 1 and user != STUDIO else None
    if delay is not None:
        return f"{user}: {fields['error_code']}, again in {delay:.1f} s"
    return f"{user}: {status}{', ' + fields['error_code'] if fields['error_code'] else ''}"


def _refused(fields: dict[str, Any]) -> str:
    return f"{fields['user']}: refused at the claim, {fields['error_code']}"


def _reclaimed(fields: dict[str, Any]) -> str:
    return f"{fields['user']}: taken back from {fields['worker']}, whose lease expired"


def _unavailable(fields: dict[str, Any]) -> str:
    return f"the database does not answer: {fields['error']}"


PHRASES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "attempt.settled": _settled,
    "job.refused": _refused,
    "lease.reclaimed": _reclaimed,
    "database.unavailable": _unavailable,
}
