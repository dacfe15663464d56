"""The first page: the state of the fleet, its figures, and what needs an operator's attention."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from generation_worker.db import fleet, jobs, query, statements, webhooks
from generation_worker.domain.estimate import span as duration
from generation_worker.web.api.fleet import FleetStatus, Front, GateView, read_status
from generation_worker.web.app import Database
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, CachedQuery, has_just_acted, render
from generation_worker.web.pages.session import PageRoute, sees

Level = Literal["bad", "warn"]
Span = Literal["hour", "day"]

ROWS = 10
MOST_WORKERS = 1000
OVERDUE = 600.0
"""Seconds for which a maintenance task may be due; living workers run tasks much sooner."""
LEASE_OVERDUE = 120.0
"""Seconds for which a lease may have been expired; living workers reclaim jobs much sooner."""
CACHE_SECONDS = 1.5
"""Open pages load again every two seconds."""
SPANS: dict[Span, tuple[float, int]] = {"hour": (60.0, 60), "day": (900.0, 96)}
"""The length of a bar of the chart in seconds, and their number."""


class Alert(NamedTuple):
    """Something that needs attention. ``link`` leads to the page with more about it."""

    level: Level
    text: str
    link: str


class Chart(NamedTuple):
    """``points`` is JSON for the script: times in seconds, then a list for each line. ``summary`` has it in words."""

    points: str
    summary: str
    exact: bool


class Overview(NamedTuple):
    """All of it as it was at one moment."""

    status: FleetStatus
    processing: Sequence[fleet.ProcessingJob]
    failures: Sequence[jobs.FailureCode]
    next_due: fleet.NextDue | None
    alerts: Sequence[Alert]


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(HOME)
def show_overview(
    request: Request,
    caller: Annotated[Caller, sees("read")],
    queries: Database,
    span: Annotated[Span, Query()] = "hour",
) -> Response:
    overview = overview_cache(queries, anew=has_just_acted(request))
    return render(
        request,
        "overview.html",
        overview=overview,
        fleet=overview.status,
        stats=overview.status.stats,
        chart=chart_caches[span](queries),
        span=span,
        schema=statements.quoted(queries.schema),
        may_operate=caller.may("operate"),
    )


def _read_overview(queries: query.Queries) -> Overview:
    with queries.read_only() as questions:
        status = read_status(questions)
        processing = fleet.list_processing_jobs(questions, limit=ROWS)
        return Overview(
            status,
            processing,
            jobs.failures_by_code(questions),
            fleet.find_next_due(questions),
            list_alerts(
                waiting=status.waiting,
                workers=fleet.list_workers(questions, limit=MOST_WORKERS),
                gates=status.gates,
                processing=processing,
                endpoints=webhooks.list_endpoints(questions, limit=ROWS),
                tasks=fleet.list_maintenance_tasks(questions),
                duplicates=jobs.duplicate_calls(questions),
            ),
        )


def _read_chart(queries: query.Queries, span: Span) -> Chart:
    seconds, number = SPANS[span]
    with queries.read_only() as questions:
        return chart_of(jobs.history(questions, seconds=seconds, spans=number), seconds)


overview_cache = CachedQuery(_read_overview, seconds=CACHE_SECONDS)
chart_caches: dict[Span, CachedQuery[Chart]] = {
    "hour": CachedQuery(lambda queries: _read_chart(queries, "hour"), seconds=4 * CACHE_SECONDS),
    "day": CachedQuery(lambda queries: _read_chart(queries, "day"), seconds=4 * CACHE_SECONDS),
}


def list_alerts(
    *,
    waiting: Iterable[Front],
    workers: Iterable[fleet.WorkerProcess],
    gates: Iterable[GateView],
    processing: Iterable[fleet.ProcessingJob],
    endpoints: Iterable[webhooks.Endpoint],
    tasks: Sequence[fleet.MaintenanceTask],
    duplicates: jobs.DuplicateCalls,
) -> list[Alert]:
    """Everything that needs attention, the bad things first."""
    found = [
        *_of_ledger(tasks),
        *_of_maintenance(tasks),
        *_of_workers(workers, waiting),
        *_of_gates(gates),
        *_of_leases(processing),
        *_of_endpoints(endpoints),
        *_of_duplicates(duplicates),
    ]
    return sorted(found, key=lambda alert: alert.level != "bad")


def _of_ledger(tasks: Iterable[fleet.MaintenanceTask]) -> Iterator[Alert]:
    for task in tasks:
        violations: Mapping[str, int | None] = (task.found or {}).get("violations", {})
        for name, rows in violations.items():
            if rows:
                yield Alert("bad", f"The ledger is wrong: {name}, {rows} rows.", f"{HOME}/workers#maintenance")


def _of_maintenance(tasks: Iterable[fleet.MaintenanceTask]) -> Iterator[Alert]:
    for task in tasks:
        if task.last_error:
            yield Alert("warn", f"Maintenance: {task.name} failed: {task.last_error}", f"{HOME}/workers#maintenance")
        elif task.seconds is not None and task.overdue > OVERDUE:
            text = f"Maintenance: {task.name} has been due for {duration(task.overdue)}, and no worker runs it."
            yield Alert("warn", text, f"{HOME}/workers#maintenance")


def _of_workers(workers: Iterable[fleet.WorkerProcess], waiting: Iterable[Front]) -> Iterator[Alert]:
    living = [worker for worker in workers if worker.state != "silent"]
    if not living:
        yield Alert("bad", "No worker has sent a heartbeat for two minutes.", f"{HOME}/workers")
    for worker in living:
        if worker.stuck:
            yield Alert("bad", f"{worker.id} has {worker.stuck} stuck jobs.", f"{HOME}/workers")
    for lane in waiting:
        if living and not lane.workers:
            text = f"Jobs for {lane.provider} have waited for {duration(lane.seconds)}, and no worker serves it."
            yield Alert("bad", text, f"{HOME}/providers")


def _of_gates(gates: Iterable[GateView]) -> Iterator[Alert]:
    for gate in gates:
        if gate.state in ("open", "probing"):
            reason = gate.reason or "for an unknown reason"
            text = f"{gate.provider}: calls with the key {gate.key_label} fail ({reason})."
            yield Alert("bad", text, f"{HOME}/providers")


def _of_leases(processing: Iterable[fleet.ProcessingJob]) -> Iterator[Alert]:
    for job in processing:
        if job.lease_seconds < -LEASE_OVERDUE:
            text = (
                f"The lease of a job expired {duration(-job.lease_seconds)} ago, and no worker has reclaimed the job."
            )
            yield Alert("bad", text, f"{HOME}/jobs/{job.id}")


def _of_endpoints(endpoints: Iterable[webhooks.Endpoint]) -> Iterator[Alert]:
    for endpoint in endpoints:
        if endpoint.state == "disabled":
            yield Alert("warn", f"A webhook is disabled: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")
        elif endpoint.state == "failing":
            yield Alert("warn", f"A webhook fails: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")


def _of_duplicates(duplicates: jobs.DuplicateCalls) -> Iterator[Alert]:
    if duplicates.jobs:
        text = f"{duplicates.calls} calls of the last day were, or may have been, paid for more than once."
        yield Alert("warn", text, f"{HOME}/jobs/{duplicates.example}")


def chart_of(spans: Sequence[jobs.EndedSpan], seconds: float) -> Chart:
    """The chart of ``spans``, each ``seconds`` long."""
    series = [
        [round(span.since.timestamp()) for span in spans],
        [span.completed for span in spans],
        [span.failed for span in spans],
        [span.mean_seconds and round(span.mean_seconds, 2) for span in spans],
    ]
    completed, failed = sum(span.completed for span in spans), sum(span.failed for span in spans)
    hours = len(spans) * seconds / 3600
    summary = (
        f"{completed:,} completed and {failed:,} failed in the last {'hour' if hours == 1 else f'{hours:g} hours'}"
    )
    return Chart(json.dumps(series), summary, all(span.exact for span in spans))
