"""The first page: how the fleet does, what it has done, and what needs somebody."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Query, Request, Response

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.attention import Finding, findings
from generation_worker.web.dashboard.charts import Chart, Span, chart_of
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.look import SharedLook
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import has_just_acted, render
from generation_worker.web.fleet import FleetStatus, status_of
from generation_worker.web.fleet_questions import Ask, Questions

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
