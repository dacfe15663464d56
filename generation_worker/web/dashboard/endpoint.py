"""One webhook endpoint: how it is set, what was sent to it, and what can be done about it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import BeforeValidator, Field

from generation_worker.domain.paging import Mark, read_cursor, write_cursor
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import go_back, render
from generation_worker.web.dashboard.webhooks import WEBHOOKS, show_secret
from generation_worker.web.deliveries import Deliveries, State
from generation_worker.web.endpoints import A_DAY, A_MONTH, Endpoints
from generation_worker.web.fields import Cursor, RequestModel

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
