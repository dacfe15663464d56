"""The list of jobs, the latest first; and what is found by how its id begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from generation_worker.domain.job import Status
from generation_worker.domain.paging import Mark, read_cursor, write_cursor
from generation_worker.domain.payload import Kind
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.choices import Choosing
from generation_worker.web.dashboard.links import JOBS, MANY, address
from generation_worker.web.dashboard.listing import Glances, Listed, Row, listed
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fields import PRINTABLE, Cursor, UserId
from generation_worker.web.fleet_questions import Ask

ON_A_PAGE = 50


class ListedJobs(Protocol):
    """Where jobs are. Each method may raise StoreUnavailable."""

    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[Sequence[Row], Mark | None]: ...

    def named(self, job_ids: Sequence[UUID]) -> Sequence[Row]: ...


class ListQuestions(Glances, Protocol):
    def find_jobs(self, prefix: str, *, limit: int) -> Sequence[UUID]: ...


class Chosen(Choosing):
    """Which jobs are listed."""

    status: Status | None = None
    kind: Kind | None = None
    user_id: UserId | None = None
    find: str | None = Field(default=None, max_length=100, pattern=PRINTABLE)
    """How an id begins. Nothing else is asked then."""
    cursor: Cursor | None = None


class _Page(NamedTuple):
    jobs: list[Listed]
    more: str | None
    """Where it goes on."""


def jobs_page_router(jobs: ListedJobs, ask: Ask[ListQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(JOBS)
    def list_jobs(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], chosen: Annotated[Chosen, Query()]
    ) -> Response:
        page = _found(jobs, ask, chosen.find) if chosen.find else _page(jobs, ask, chosen)
        if chosen.find and len(page.jobs) == 1:
            return RedirectResponse(f"{JOBS}/{page.jobs[0].job['id']}", 303)
        return render(request, "jobs.html", page=page, chosen=chosen, many=_many(chosen, caller))

    return router


def _page(jobs: ListedJobs, ask: Ask[ListQuestions], chosen: Chosen) -> _Page:
    rows, mark = jobs.page(
        chosen.user_id,
        statuses=None if chosen.status is None else [chosen.status],
        kind=chosen.kind,
        before=read_cursor(chosen.cursor),
        limit=ON_A_PAGE,
    )
    filters: dict[str, Any] = chosen.model_dump(exclude={"cursor"})
    return _Page(listed(rows, ask), mark and address(JOBS, **filters, cursor=write_cursor(mark)))


def _found(jobs: ListedJobs, ask: Ask[ListQuestions], beginning: str) -> _Page:
    with ask() as questions:
        ids = questions.find_jobs(beginning.strip(), limit=ON_A_PAGE)
    return _Page(listed(jobs.named(ids), ask), None)


def _many(chosen: Chosen, caller: Caller) -> dict[str, str]:
    """What can be done to all of them at once, and where."""
    if not caller.may("operate"):
        return {}
    filters = {"status": chosen.status, "kind": chosen.kind, "user_id": chosen.user_id}
    return {word: address(f"{MANY}/{word}", **filters) for word in ("cancel", "release", "retry")}
