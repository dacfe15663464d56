"""``status``: the whole queue in one screen, once or repeatedly."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import psycopg
import typer

from generation_worker.cli.output import plain, print_json, print_table, rich_table, span, text
from generation_worker.cli.shell import Json, database
from generation_worker.db import fleet, query, webhooks
from generation_worker.db.fleet import Gate, LaneFront, NextDue, Pause, ProcessingJob, WorkerProcess
from generation_worker.db.jobs import (
    DuplicateCalls,
    FailureCode,
    JobCount,
    Throughput,
    duplicate_calls,
    failures_by_code,
    throughput,
)
from generation_worker.domain.fleet import extent_of

ROWS = 20
"""Most rows of each list."""


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two reports.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Show waiting and running jobs, workers and failures."""
    if watch and as_json:
        raise typer.BadParameter("--json prints one document; leave out --watch, or call it repeatedly")
    with database() as queries:
        if watch:
            _watch(queries, interval)
        elif as_json:
            print_json(collect_status(queries).as_json())
        else:
            collect_status(queries).show()


def collect_status(queries: query.Queries) -> StatusReport:
    """Raises psycopg.Error."""
    return StatusReport(
        pauses=fleet.list_pauses(queries),
        counts=fleet.count_jobs_by_status(queries),
        fronts=fleet.list_lane_fronts(queries),
        next_due=fleet.find_next_due(queries),
        running=fleet.list_processing_jobs(queries, limit=ROWS),
        workers=fleet.list_workers(queries, limit=ROWS),
        gates=fleet.list_gates(queries, limit=ROWS),
        endpoints=webhooks.list_endpoints(queries, limit=ROWS),
        throughput=throughput(queries),
        failures=failures_by_code(queries),
        duplicates=duplicate_calls(queries),
    )


class StatusTable(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class StatusReport:
    """The state of the whole queue at one moment."""

    pauses: list[Pause]
    counts: list[JobCount]
    fronts: list[LaneFront]
    next_due: NextDue | None
    running: list[ProcessingJob]
    workers: list[WorkerProcess]
    gates: list[Gate]
    endpoints: list[webhooks.Endpoint]
    throughput: list[Throughput]
    failures: list[FailureCode]
    duplicates: DuplicateCalls

    def as_json(self) -> dict[str, Any]:
        return {
            "paused": plain(self.pauses),
            "jobs": {count.status: {"count": count.jobs, "exact": count.exact} for count in self.counts},
            "waiting": plain(self.fronts),
            "next_due": plain(self.next_due),
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
        living = sum(worker.state != "silent" for worker in self.workers)
        counts = (f"{count.status} {_number(count.jobs, exact=count.exact)}" for count in self.counts)
        paused = ["paused " + ", ".join(str(extent_of(pause.name)) for pause in self.pauses)] if self.pauses else []
        disabled = sum(endpoint.state == "disabled" for endpoint in self.endpoints)
        endpoints = [f"endpoints disabled {disabled}"] if disabled else []
        return "  ".join([*counts, f"workers {living}", *paused, *endpoints])

    def show(self) -> None:
        for table in self.tables():
            print_table(table.columns, table.rows, title=table.title)

    def renderable(self) -> Any:
        """All of it for a terminal."""
        from rich.console import Group  # noqa: PLC0415 - only for --watch

        shown = ((table, [[text(cell) for cell in row] for row in table.rows]) for table in self.tables())
        return Group(*(rich_table(table.columns, rows, title=table.title) for table, rows in shown if rows))

    def tables(self) -> list[StatusTable]:
        counts = [[count.status, _number(count.jobs, exact=count.exact), self._note(count)] for count in self.counts]
        return [
            StatusTable("Paused", ("what", "since", "by", "reason"), self._paused()),
            StatusTable("Jobs", ("status", "jobs", ""), counts),
            StatusTable("Processing", ("job", "kind", "user", "attempt", "worker", "for", "lease"), self._running()),
            StatusTable("Workers", ("worker", "state", "busy", "providers", "version", "seen"), self._workers()),
            StatusTable("Provider keys", ("key", "state", "used", "for", "reason"), self._gates()),
            StatusTable("Webhooks", ("endpoint", "state", "waiting", "given up", "since", "reason"), self._endpoints()),
            StatusTable("Ended", ("last", "completed", "failed", "cancelled", "per minute", "mean"), self._ended()),
            StatusTable("Failures of the last day", ("code", "jobs", "latest", "message"), self._failures()),
            StatusTable(
                "Paid more than once in the last day",
                ("jobs", "calls too many", "credits", "latest job"),
                self._duplicates(),
            ),
        ]

    def _paused(self) -> list[list[Any]]:
        return [[extent_of(pause.name), pause.since, pause.by, pause.reason] for pause in self.pauses]

    def _note(self, count: JobCount) -> str:
        if count.status == "pending":
            return "; ".join(_front_text(front) for front in self.fronts) or " "
        if self.next_due is not None and count.status == self.next_due.status:
            return f"next in {span(self.next_due.seconds)}" if self.next_due.seconds > 0 else "next one is due"
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
                gate.key_label + ("" if gate.workers else ", no worker has it"),
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
        """No row if there are none."""
        found = self.duplicates
        return [[found.jobs, found.calls, found.credits, found.example]] if found.jobs else []

    def _failures(self) -> list[list[Any]]:
        return [[failure.code, failure.jobs, failure.last_at, failure.message] for failure in self.failures]


def _watch(queries: query.Queries, interval: float) -> None:
    try:
        if sys.stdout.isatty():
            _refresh(queries, interval)
        else:
            _repeat(interval, lambda: typer.echo(f"{datetime.now().astimezone():%H:%M:%S}  {_line(queries)}"))
    except KeyboardInterrupt:
        pass  # the way to end it


def _refresh(queries: query.Queries, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - only here
    from rich.text import Text  # noqa: PLC0415

    with Live(auto_refresh=False, screen=True) as live:

        def show() -> None:
            report = _try_to_collect(queries)
            live.update(Text(report) if isinstance(report, str) else report.renderable(), refresh=True)

        _repeat(interval, show)


def _line(queries: query.Queries) -> str:
    report = _try_to_collect(queries)
    return report if isinstance(report, str) else report.line()


def _repeat(interval: float, show: Callable[[], None]) -> None:
    while True:
        show()
        sys.stdout.flush()
        time.sleep(interval)


def _try_to_collect(queries: query.Queries) -> StatusReport | str:
    """A report, or why there is none: ``--watch`` continues while the database restarts."""
    try:
        return collect_status(queries)
    except psycopg.OperationalError as error:
        return f"the database does not answer: {' '.join(str(error).split())}"


def _number(jobs: int, *, exact: bool) -> str:
    return f"{jobs:,}" if exact else f"about {jobs:,}"


def _front_text(front: LaneFront) -> str:
    alone = "" if front.workers else ", no worker serves it"
    return f"{front.provider}: oldest waits {span(front.seconds)}{alone}"


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}
