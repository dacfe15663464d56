"""The first page: how the fleet does, what it has done, and what needs somebody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from fastapi import APIRouter, Query, Request, Response

from generation_worker.domain.estimate import span
from generation_worker.web.api.fleet import Ask, FleetStatus, Questions, status_of
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, SharedLook, has_just_acted, render
from generation_worker.web.pages.session import PageRoute, sees

# What an operator should look at first. Each finding says what is wrong, and where to go on.


Level = Literal["bad", "warn"]
LATE = 600.0
"""Seconds for which a task of maintenance may be due; living workers look much more often."""


class Finding(NamedTuple):
    level: Level
    text: str
    link: str


def findings(
    *,
    waiting: Iterable[Any],
    workers: Iterable[Any],
    gates: Iterable[Any],
    processing: Iterable[Any],
    endpoints: Iterable[Any],
    tasks: Sequence[Any],
    duplicates: Any,
) -> list[Finding]:
    """The bad ones first. What each argument holds is the database's answer to the question of that name."""
    found = [
        *_of_books(tasks),
        *_of_upkeep(tasks),
        *_of_workers(workers, waiting),
        *_of_gates(gates),
        *_of_leases(processing),
        *_of_endpoints(endpoints),
        *_of_duplicates(duplicates),
    ]
    return sorted(found, key=lambda finding: finding.level != "bad")


def _of_books(tasks: Iterable[Any]) -> Iterator[Finding]:
    for task in tasks:
        found: Mapping[str, Any] = task.found or {}
        violations: Mapping[str, int | None] = found.get("violations", {})
        for name, rows in violations.items():
            if rows:
                yield Finding("bad", f"The books do not hold: {name}, {rows} rows.", f"{HOME}/workers#maintenance")


def _of_upkeep(tasks: Iterable[Any]) -> Iterator[Finding]:
    for task in tasks:
        if task.last_error:
            yield Finding("warn", f"Maintenance: {task.name} failed: {task.last_error}", f"{HOME}/workers#maintenance")
        elif task.seconds is not None and task.overdue > LATE:
            text = f"Maintenance: {task.name} has been due for {span(task.overdue)}, and nobody does it."
            yield Finding("warn", text, f"{HOME}/workers#maintenance")


def _of_workers(workers: Iterable[Any], waiting: Iterable[Any]) -> Iterator[Finding]:
    alive = [worker for worker in workers if worker.state != "silent"]
    if not alive:
        yield Finding("bad", "No worker has been heard of for two minutes.", f"{HOME}/workers")
    for worker in alive:
        if worker.stuck:
            yield Finding("bad", f"{worker.id} has {worker.stuck} stuck jobs.", f"{HOME}/workers")
    for lane in waiting:
        if alive and not lane.workers:
            text = f"Jobs for {lane.provider} wait for {span(lane.seconds)}, and no worker serves it."
            yield Finding("bad", text, f"{HOME}/providers")


def _of_gates(gates: Iterable[Any]) -> Iterator[Finding]:
    for gate in gates:
        if gate.state in ("open", "probing"):
            text = f"{gate.provider}: calls with the key {gate.key_label} fail ({gate.reason or 'no reason is known'})."
            yield Finding("bad", text, f"{HOME}/providers")


def _of_leases(processing: Iterable[Any]) -> Iterator[Finding]:
    for job in processing:
        if job.lease_seconds < -120:
            text = f"The lease of a job ran out {span(-job.lease_seconds)} ago, and nobody has taken it over."
            yield Finding("bad", text, f"{HOME}/jobs/{job.id}")


def _of_endpoints(endpoints: Iterable[Any]) -> Iterator[Finding]:
    for endpoint in endpoints:
        if endpoint.state == "disabled":
            yield Finding("warn", f"A webhook is disabled: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")
        elif endpoint.state == "failing":
            yield Finding("warn", f"A webhook fails: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")


def _of_duplicates(duplicates: Any) -> Iterator[Finding]:
    if duplicates.jobs:
        text = f"{duplicates.calls} calls of the last day were, or may have been, paid for more than once."
        yield Finding("warn", text, f"{HOME}/jobs/{duplicates.example}")


# Figures over time, as the chart on a page takes them.


Span = Literal["hour", "day"]


class Chart(NamedTuple):
    """``points`` is JSON for the script: times in seconds, then a list for each line. ``summary`` says it in words."""

    points: str
    summary: str
    exact: bool


def chart_of(spans: Sequence[Any], seconds: float) -> Chart:
    """``spans`` as ``Insights.history`` has them, each of ``seconds``."""
    series = [
        [round(span.since.timestamp()) for span in spans],
        [span.completed for span in spans],
        [span.failed for span in spans],
        [span.mean_seconds and round(span.mean_seconds, 2) for span in spans],
    ]
    completed, failed = sum(series[1]), sum(series[2])
    hours = len(spans) * seconds / 3600
    summary = (
        f"{completed:,} completed and {failed:,} failed in the last {'hour' if hours == 1 else f'{hours:g} hours'}"
    )
    return Chart(json.dumps(series), summary, all(span.exact for span in spans))


SECONDS = 1.5
"""For how long one look serves everybody: pages look every two seconds."""
SPANS: dict[Span, tuple[float, int]] = {"hour": (60.0, 60), "day": (900.0, 96)}
"""Length of a bar in seconds, and how many there are."""
ROWS = 10
MOST = 1000


class OverviewQuestions(Questions, Protocol):
    """Answers are tuples with names, as ``db.answers`` has them."""

    def processing_jobs(self, *, limit: int) -> Sequence[Any]: ...

    def failures_by_code(self) -> Sequence[Any]: ...

    def duplicate_calls(self) -> Any: ...

    def maintenance(self) -> Sequence[Any]: ...

    def webhook_endpoints(self, *, limit: int) -> Sequence[Any]: ...

    def next_due(self) -> Any: ...

    def history(self, *, seconds: float, spans: int) -> Sequence[Any]: ...


class Overview(NamedTuple):
    """All of it as it was at one moment."""

    status: FleetStatus
    processing: Sequence[Any]
    failures: Sequence[Any]
    next_due: Any
    findings: Sequence[Finding]


def overview_router(ask: Ask[OverviewQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    look = SharedLook(partial(_take, ask), seconds=SECONDS)
    histories = {span: SharedLook(partial(_history, ask, span), seconds=4 * SECONDS) for span in SPANS}

    @router.get(HOME)
    def overview(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], span: Annotated[Span, Query()] = "hour"
    ) -> Response:
        seen = look(anew=has_just_acted(request))
        return render(
            request,
            "overview.html",
            seen=seen,
            fleet=seen.status,
            stats=seen.status.stats,
            chart=histories[span](),
            span=span,
            may_operate=caller.may("operate"),
        )

    return router


def _take(ask: Ask[OverviewQuestions]) -> Overview:
    with ask() as questions:
        status = status_of(questions)
        processing = questions.processing_jobs(limit=ROWS)
        return Overview(
            status,
            processing,
            questions.failures_by_code(),
            questions.next_due(),
            findings(
                waiting=status.waiting,
                workers=questions.workers(limit=MOST),
                gates=status.gates,
                processing=processing,
                endpoints=questions.webhook_endpoints(limit=ROWS),
                tasks=questions.maintenance(),
                duplicates=questions.duplicate_calls(),
            ),
        )


def _history(ask: Ask[OverviewQuestions], span: Span) -> Chart:
    seconds, spans = SPANS[span]
    with ask() as questions:
        return chart_of(questions.history(seconds=seconds, spans=spans), seconds)
