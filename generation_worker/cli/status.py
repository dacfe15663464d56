"""``status``: the whole queue at a glance, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from generation_worker.cli.output import plain, print_json, print_table, rich_table, span, text
from generation_worker.cli.shell import Json, database
from generation_worker.db.audit_trail import Pause
from generation_worker.db.fleet import Gate, JobCount, LaneFront, NextDue, ProcessingJob, Worker
from generation_worker.db.insights import Insights
from generation_worker.db.jobs import DuplicateCalls, FailureCode, Throughput
from generation_worker.db.webhooks import Endpoint
from generation_worker.domain.fleet import extent_of

if TYPE_CHECKING:
    from generation_worker.db.insights import Insights


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Show what waits, what runs, who works and what fails."""
    if watch and as_json:
        raise typer.BadParameter("--json prints one document; leave out --watch, or call it again and again")
    with database() as own:
        from generation_worker.db.insights import Insights  # noqa: PLC0415

        insights = Insights(own)
        if watch:
            _watch(insights, interval)
        elif as_json:
            print_json(look(insights).as_json())
        else:
            look(insights).show()


def _watch(insights: Insights, interval: float) -> None:
    try:
        if sys.stdout.isatty():
            _refresh(insights, interval)
        else:
            _repeat(interval, lambda: typer.echo(f"{datetime.now().astimezone():%H:%M:%S}  {_line(insights)}"))
    except KeyboardInterrupt:
        pass  # the way to end it


def _refresh(insights: Insights, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - only here
    from rich.text import Text  # noqa: PLC0415

    with Live(auto_refresh=False, screen=True) as live:

        def show() -> None:
            glance = _patient_look(insights)
            live.update(Text(glance) if isinstance(glance, str) else glance.renderable(), refresh=True)

        _repeat(interval, show)


def _line(insights: Insights) -> str:
    glance = _patient_look(insights)
    return glance if isinstance(glance, str) else glance.line()


def _repeat(interval: float, show: Callable[[], None]) -> None:
    while True:
        show()
        sys.stdout.flush()
        time.sleep(interval)


def _patient_look(insights: Insights) -> Glance | str:
    """A look, or why there is none: whoever watches a restart wants to see its end."""
    from psycopg import OperationalError  # noqa: PLC0415 - not for --help

    try:
        return look(insights)
    except OperationalError as error:
        return f"the database does not answer: {' '.join(str(error).split())}"


# What ``status`` shows, taken at one moment.


ROWS = 20
"""Most running jobs and workers that are listed."""


class Part(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Glance:
    """One answer to each question about the whole queue."""

    pauses: list[Pause]
    counts: list[JobCount]
    lanes: list[LaneFront]
    due: NextDue | None
    running: list[ProcessingJob]
    workers: list[Worker]
    gates: list[Gate]
    endpoints: list[Endpoint]
    throughput: list[Throughput]
    failures: list[FailureCode]
    duplicates: DuplicateCalls

    def as_json(self) -> dict[str, Any]:
        return {
            "paused": plain(self.pauses),
            "jobs": {count.status: {"count": count.jobs, "exact": count.exact} for count in self.counts},
            "waiting": plain(self.lanes),
            "next_due": plain(self.due),
            "processing": plain(self.running),
            "workers": plain(self.workers),
            "gates": plain(self.gates),
            "webhooks": plain(self.endpoints),
            "throughput": {ended.span: _without(plain(ended), "span") for ended in self.throughput},
            "failures": plain(self.failures),
            "duplicate_calls": plain(self.duplicates),
        }

    def line(self) -> str:
        """The counts and the workers, on one line."""
        alive = sum(worker.state != "silent" for worker in self.workers)
        counts = (f"{count.status} {_number(count.jobs, exact=count.exact)}" for count in self.counts)
        paused = ["paused " + ", ".join(str(extent_of(pause.name)) for pause in self.pauses)] if self.pauses else []
        silent = sum(endpoint.state == "disabled" for endpoint in self.endpoints)
        disabled = [f"endpoints disabled {silent}"] if silent else []
        return "  ".join([*counts, f"workers {alive}", *paused, *disabled])

    def show(self) -> None:
        for part in self.parts():
            print_table(part.columns, part.rows, title=part.title)

    def renderable(self) -> Any:
        """All of it for a terminal."""
        from rich.console import Group  # noqa: PLC0415 - only for --watch

        shown = ((part, [[text(cell) for cell in row] for row in part.rows]) for part in self.parts())
        return Group(*(rich_table(part.columns, rows, title=part.title) for part, rows in shown if rows))

    def parts(self) -> list[Part]:
        counts = [[count.status, _number(count.jobs, exact=count.exact), self._note(count)] for count in self.counts]
        return [
            Part("Paused", ("what", "since", "by", "reason"), self._paused()),
            Part("Jobs", ("status", "jobs", ""), counts),
            Part("Processing", ("job", "kind", "user", "attempt", "worker", "for", "lease"), self._running()),
            Part("Workers", ("worker", "state", "busy", "providers", "version", "seen"), self._workers()),
            Part("Provider keys", ("key", "state", "used", "for", "reason"), self._gates()),
            Part("Webhooks", ("endpoint", "state", "waiting", "given up", "since", "reason"), self._endpoints()),
            Part("Ended", ("last", "completed", "failed", "cancelled", "per minute", "mean"), self._ended()),
            Part("Failures of the last day", ("code", "jobs", "latest", "message"), self._failures()),
            Part(
                "Paid more than once in the last day",
                ("jobs", "calls too many", "credits", "latest job"),
                self._duplicates(),
            ),
        ]

    def _paused(self) -> list[list[Any]]:
        return [[extent_of(pause.name), pause.since, pause.by, pause.reason] for pause in self.pauses]

    def _note(self, count: JobCount) -> str:
        if count.status == "pending":
            return "; ".join(_front(lane) for lane in self.lanes) or " "
        if self.due is not None and count.status == self.due.status:
            return f"next in {span(self.due.seconds)}" if self.due.seconds > 0 else "next one is due"
        return " "

    def _running(self) -> list[list[Any]]:
        return [
            [
                job.id,
                job.kind,
                job.user_id,
                f"{job.attempt} of {job.max_attempts}",
                job.worker,
                span(job.seconds),
                f"{span(job.lease_seconds)}{' left' if job.lease_seconds > 0 else ': expired'}"
                + (", to be cancelled" if job.cancel_requested else ""),
            ]
            for job in self.running
        ]

    def _workers(self) -> list[list[Any]]:
        return [
            [
                worker.id,
                worker.state + (f" ({worker.stuck})" if worker.stuck else ""),
                f"{worker.busy} of {worker.concurrency}",
                ", ".join(worker.providers),
                worker.version,
                f"{span(worker.seen_seconds)} ago",
            ]
            for worker in self.workers
        ]

    def _gates(self) -> list[list[Any]]:
        return [
            [
                gate.key_label + ("" if gate.workers else ", no worker holds it"),
                gate.state,
                f"{gate.used} of {gate.calls_per_minute}",
                span(gate.seconds) if gate.reason else " ",
                gate.reason or " ",
            ]
            for gate in self.gates
        ]

    def _endpoints(self) -> list[list[Any]]:
        return [[e.id, e.state, e.waiting, e.dead, e.since, e.reason] for e in self.endpoints]

    def _ended(self) -> list[list[Any]]:
        return [
            [
                ended.span,
                *(_number(jobs, exact=ended.exact) for jobs in (ended.completed, ended.failed, ended.cancelled)),
                f"{ended.per_minute:g}",
                span(ended.mean_seconds),
            ]
            for ended in self.throughput
        ]

    def _duplicates(self) -> list[list[Any]]:
        """Nothing if nothing was: then there is nothing to see."""
        found = self.duplicates
        return [[found.jobs, found.calls, found.credits, found.example]] if found.jobs else []

    def _failures(self) -> list[list[Any]]:
        return [[failure.code, failure.jobs, failure.last_at, failure.message] for failure in self.failures]


def look(insights: Insights) -> Glance:
    """Ask everything. Raises psycopg.Error."""
    return Glance(
        pauses=insights.pauses(),
        counts=insights.count_jobs(),
        lanes=insights.oldest_waiting(),
        due=insights.next_due(),
        running=insights.processing_jobs(limit=ROWS),
        workers=insights.workers(limit=ROWS),
        gates=insights.gates(limit=ROWS),
        endpoints=insights.webhook_endpoints(limit=ROWS),
        throughput=insights.throughput(),
        failures=insights.failures_by_code(),
        duplicates=insights.duplicate_calls(),
    )


def _number(jobs: int, *, exact: bool) -> str:
    return f"{jobs:,}" if exact else f"about {jobs:,}"


def _front(lane: LaneFront) -> str:
    alone = "" if lane.workers else ", no worker serves it"
    return f"{lane.provider}: oldest waits {span(lane.seconds)}{alone}"


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
