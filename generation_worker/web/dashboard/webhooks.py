"""Endpoints that are told of events: those in trouble first, and a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import Field

from generation_worker.domain.webhook import EVENTS, USUAL, Event
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.endpoints import Endpoints
from generation_worker.web.fields import PRINTABLE, RequestModel, UserId
from generation_worker.web.fleet_questions import Ask

WEBHOOKS = f"{HOME}/webhooks"
ROWS = 50
FIRST = UUID(int=0)
"""Before all others, in the order of ids."""


class EndpointQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them. Raises StoreUnavailable."""

    def webhook_endpoints(
        self, *, user_id: str | None, after: UUID | None, troubled_first: bool, limit: int
    ) -> Sequence[Any]: ...


class EndpointFilters(RequestModel):
    user_id: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""
    after: UUID | None = None


class NewEndpoint(Form):
    """As the body of POST /worker/webhooks."""

    url: str = Field(min_length=1, max_length=2000, pattern=PRINTABLE)
    events: list[Event] = Field(default=[], max_length=10)
    user_id: UserId | None = None


def webhooks_router(ask: Ask[EndpointQuestions], endpoints: Endpoints) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(WEBHOOKS)
    def list_endpoints(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], filters: Annotated[EndpointFilters, Query()]
    ) -> Response:
        with ask() as questions:
            found = questions.webhook_endpoints(
                user_id=filters.user_id or None,
                after=filters.after,
                troubled_first=filters.after is None,
                limit=ROWS + 1,
            )
        page = found[:ROWS]
        return render(
            request,
            "webhooks.html",
            endpoints=page,
            filters=filters,
            next_after=_next_after(page, filters) if len(found) > ROWS else None,
            events=EVENTS,
            usual=USUAL,
            may_admin=caller.may("admin"),
        )

    @router.post(WEBHOOKS)
    def add_endpoint(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("admin")], form: Annotated[NewEndpoint, FormBody()]
    ) -> Response:
        made = endpoints.add(form.url, form.events, form.user_id, by=caller.name, reason=form.reason)
        return show_secret(request, made.id, made.secret, f"{form.url} is told from now on.")

    return router


def show_secret(request: Request, endpoint: UUID, secret: str, said: str) -> Response:
    """The one answer that has the secret: not an address to come back to, and nothing that a browser may keep."""
    return render(request, "secret.html", endpoint=endpoint, secret=secret, done=said)


def _next_after(page: Sequence[Any], filters: EndpointFilters) -> UUID:
    """The first page has its own order, those in trouble first; all others are in that of ids, from the beginning."""
    return FIRST if filters.after is None else page[-1].id
