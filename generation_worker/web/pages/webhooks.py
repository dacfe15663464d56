"""One webhook endpoint: how it is set, what was sent to it, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import BeforeValidator, Field

from generation_worker.db.query import Mark, read_cursor, write_cursor
from generation_worker.domain.webhook import EVENTS, USUAL, Event
from generation_worker.web.api.fleet import Ask
from generation_worker.web.api.webhooks import A_DAY, A_MONTH, Deliveries, Endpoints, State
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.web.requests import PRINTABLE, Cursor, RequestModel, UserId

# Endpoints that are told of events: those in trouble first, and a new one.


WEBHOOKS = f"{HOME}/webhooks"
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


ROWS = 50
AN_HOUR = 3600

Admin = Annotated[Caller, sees("admin")]
Asked = Annotated[Form, FormBody()]
NoneIfEmpty = BeforeValidator(lambda value: value or None)
"""What a form sends for a choice of nothing."""


class DeliveryFilters(RequestModel):
    status: Annotated[State | None, NoneIfEmpty] = None
    failed: bool = False
    cursor: Cursor | None = None


class Rotate(Form):
    keep_hours: int = Field(default=A_DAY // AN_HOUR, ge=0, le=A_MONTH // AN_HOUR)


def endpoint_router(endpoints: Endpoints, deliveries: Deliveries) -> APIRouter:
    router = APIRouter(prefix=WEBHOOKS, include_in_schema=False, route_class=PageRoute)
    pages = _Pages(endpoints, deliveries)
    add = router.add_api_route
    one = "/{endpoint_id}"
    add(one, pages.endpoint, methods=["GET"])
    add(f"{one}/rotate", pages.rotate, methods=["POST"])
    add(f"{one}/disable", pages.disable, methods=["POST"])
    add(f"{one}/enable", pages.enable, methods=["POST"])
    add(f"{one}/test", pages.test, methods=["POST"])
    add(f"{one}/remove", pages.remove, methods=["POST"])
    add("/deliveries/{delivery_id}/replay", pages.replay, methods=["POST"])
    return router


class _Pages:
    def __init__(self, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self._endpoints = endpoints
        self._deliveries = deliveries

    def endpoint(
        self,
        request: Request,
        caller: Annotated[Caller, sees("read")],
        endpoint_id: UUID,
        filters: Annotated[DeliveryFilters, Query()],
    ) -> Response:
        found = self._deliveries.deliveries(
            None,
            endpoint=endpoint_id,
            job=None,
            state=filters.status,
            failed=filters.failed
            or filters.status == "dead",  # what was given up went wrong, and has an index for that
            before=read_cursor(filters.cursor),
            limit=ROWS + 1,
        )
        page = found[:ROWS]
        return render(
            request,
            "endpoint.html",
            endpoint=self._endpoints.endpoint(endpoint_id, None),
            deliveries=page,
            filters=filters,
            next_cursor=write_cursor(Mark(page[-1].created_at, page[-1].id)) if len(found) > ROWS else None,
            may_admin=caller.may("admin"),
        )

    def rotate(
        self, request: Request, caller: Admin, endpoint_id: UUID, form: Annotated[Rotate, FormBody()]
    ) -> Response:
        keep = form.keep_hours * AN_HOUR
        secret = self._endpoints.rotate(endpoint_id, None, keep=keep, by=caller.name, reason=form.reason)
        lasts = f"the old one signs as well for {form.keep_hours} h" if keep else "the old one signs nothing any more"
        return show_secret(request, endpoint_id, secret, f"A new secret was made; {lasts}.")

    def disable(self, caller: Admin, endpoint_id: UUID, form: Asked) -> Response:
        self._endpoints.disable(endpoint_id, None, by=caller.name, reason=form.reason)
        return _back(form, endpoint_id, "It is told nothing any more; what waits for it goes on waiting.")

    def enable(self, caller: Admin, endpoint_id: UUID, form: Asked) -> Response:
        self._endpoints.enable(endpoint_id, None, by=caller.name, reason=form.reason)
        return _back(form, endpoint_id, "It is told again, first what has waited for it.")

    def test(self, caller: Admin, endpoint_id: UUID, form: Asked) -> Response:
        delivery = self._endpoints.test(endpoint_id, None, by=caller.name, reason=form.reason)
        return _back(form, endpoint_id, f"A worker sends it the test message {delivery} now: see its deliveries.")

    def remove(self, caller: Admin, endpoint_id: UUID, form: Asked) -> Response:
        self._endpoints.remove(endpoint_id, None, by=caller.name, reason=form.reason)
        return go_back(WEBHOOKS, "The endpoint was removed, with what waited for it.")

    def replay(self, caller: Admin, delivery_id: UUID, form: Asked) -> Response:
        self._deliveries.replay(delivery_id, None, by=caller.name, reason=form.reason)
        return go_back(form.back, f"The message {delivery_id} is sent once more.", otherwise=WEBHOOKS)


def _back(form: Form, endpoint: UUID, said: str) -> Response:
    return go_back(form.back, said, otherwise=f"{WEBHOOKS}/{endpoint}")
