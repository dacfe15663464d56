"""Webhook endpoints: their list, one endpoint with its deliveries, and the forms that change them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form as FormBody, Query, Request, Response
from pydantic import BeforeValidator, Field

from generation_worker.db import audit_trail, query, webhooks
from generation_worker.domain.webhook import DEFAULT_EVENTS, EVENTS, Event
from generation_worker.web.api.webhooks import A_DAY, A_MONTH, AllowPrivate, State
from generation_worker.web.app import Database
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.web.requests import PRINTABLE, Cursor, RequestModel, UserId

WEBHOOKS = f"{HOME}/webhooks"
ROWS = 50
AN_HOUR = 3600
FIRST = UUID(int=0)
"""Before all others, in the order of ids."""

Admin = Annotated[Caller, sees("admin")]
PlainForm = Annotated[Form, FormBody()]
NoneIfEmpty = BeforeValidator(lambda value: value or None)
"""For a choice of a form: its empty text chooses nothing."""


class EndpointSearch(RequestModel):
    user_id: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""
    after: UUID | None = None


class DeliverySearch(RequestModel):
    status: Annotated[State | None, NoneIfEmpty] = None
    failed: bool = False
    cursor: Cursor | None = None


class NewEndpointForm(Form):
    """The fields of POST /worker/webhooks."""

    url: str = Field(min_length=1, max_length=2000, pattern=PRINTABLE)
    events: list[Event] = Field(default=[], max_length=10)
    user_id: UserId | None = None


class RotateForm(Form):
    keep_hours: int = Field(default=A_DAY // AN_HOUR, ge=0, le=A_MONTH // AN_HOUR)


router = APIRouter(prefix=WEBHOOKS, include_in_schema=False, route_class=PageRoute)


@router.get("")
def show_endpoints(
    request: Request,
    caller: Annotated[Caller, sees("read")],
    filters: Annotated[EndpointSearch, Query()],
    queries: Database,
) -> Response:
    found = webhooks.list_endpoints(
        queries,
        owner=filters.user_id or None,
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
        default_events=DEFAULT_EVENTS,
        may_admin=caller.may("admin"),
    )


@router.post("")
def add_endpoint(
    request: Request,
    caller: Admin,
    form: Annotated[NewEndpointForm, FormBody()],
    queries: Database,
    allow_private: AllowPrivate,
) -> Response:
    made = webhooks.create_endpoint(
        queries,
        form.url,
        form.events,
        user_id=form.user_id,
        allow_private=allow_private,
        by=audit_trail.Author(caller.name, form.reason),
    )
    return _show_secret(request, made.id, made.secret, f"{form.url} receives events from now on.")


@router.get("/{endpoint_id}")
def show_endpoint(
    request: Request,
    caller: Annotated[Caller, sees("read")],
    endpoint_id: UUID,
    filters: Annotated[DeliverySearch, Query()],
    queries: Database,
) -> Response:
    found = webhooks.list_deliveries(
        queries,
        endpoint=endpoint_id,
        state=filters.status,
        failed=filters.failed or filters.status == "dead",  # a dead delivery has failed, and failures have an index
        before=query.read_cursor(filters.cursor),
        limit=ROWS + 1,
    )
    page = found[:ROWS]
    return render(
        request,
        "endpoint.html",
        endpoint=webhooks.find_endpoint(queries, endpoint_id),
        deliveries=page,
        filters=filters,
        next_cursor=query.write_cursor(query.Mark(page[-1].created_at, page[-1].id)) if len(found) > ROWS else None,
        may_admin=caller.may("admin"),
    )


@router.post("/{endpoint_id}/rotate")
def rotate_secret(
    request: Request, caller: Admin, endpoint_id: UUID, form: Annotated[RotateForm, FormBody()], queries: Database
) -> Response:
    keep = form.keep_hours * AN_HOUR
    secret = webhooks.rotate_secret(queries, endpoint_id, keep=keep, by=audit_trail.Author(caller.name, form.reason))
    lasts = f"the old one also signs for {form.keep_hours} h" if keep else "the old one signs nothing any more"
    return _show_secret(request, endpoint_id, secret, f"A new secret was made; {lasts}.")


@router.post("/{endpoint_id}/disable")
def disable_endpoint(caller: Admin, endpoint_id: UUID, form: PlainForm, queries: Database) -> Response:
    webhooks.disable_endpoint(queries, endpoint_id, by=audit_trail.Author(caller.name, form.reason))
    return _back(form, endpoint_id, "Nothing is sent to it any more; its pending messages stay.")


@router.post("/{endpoint_id}/enable")
def enable_endpoint(caller: Admin, endpoint_id: UUID, form: PlainForm, queries: Database) -> Response:
    webhooks.enable_endpoint(queries, endpoint_id, by=audit_trail.Author(caller.name, form.reason))
    return _back(form, endpoint_id, "It receives events again, its pending messages first.")


@router.post("/{endpoint_id}/test")
def send_test(caller: Admin, endpoint_id: UUID, form: PlainForm, queries: Database) -> Response:
    delivery = webhooks.send_test(queries, endpoint_id, by=audit_trail.Author(caller.name, form.reason))
    return _back(form, endpoint_id, f"A worker sends the test message {delivery} now: see the deliveries.")


@router.post("/{endpoint_id}/remove")
def remove_endpoint(caller: Admin, endpoint_id: UUID, form: PlainForm, queries: Database) -> Response:
    webhooks.remove_endpoint(queries, endpoint_id, by=audit_trail.Author(caller.name, form.reason))
    return go_back(WEBHOOKS, "The endpoint was removed, with its pending messages.")


@router.post("/deliveries/{delivery_id}/replay")
def replay_delivery(caller: Admin, delivery_id: UUID, form: PlainForm, queries: Database) -> Response:
    webhooks.replay_delivery(queries, delivery_id, by=audit_trail.Author(caller.name, form.reason))
    return go_back(form.back, f"The message {delivery_id} is sent once more.", otherwise=WEBHOOKS)


def _show_secret(request: Request, endpoint: UUID, secret: str, flash: str) -> Response:
    """The only response with the secret: it has no address to return to, and browsers may not store it."""
    return render(request, "secret.html", endpoint=endpoint, secret=secret, done=flash)


def _next_after(page: Sequence[webhooks.Endpoint], filters: EndpointSearch) -> UUID:
    """The first page has an order of its own, troubled endpoints first; all others list all endpoints by their ids."""
    return FIRST if filters.after is None else page[-1].id


def _back(form: Form, endpoint: UUID, flash: str) -> Response:
    return go_back(form.back, flash, otherwise=f"{WEBHOOKS}/{endpoint}")
