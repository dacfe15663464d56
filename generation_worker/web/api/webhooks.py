"""Webhooks of the app over HTTP: endpoints that receive events, and the deliveries to them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.db import audit_trail, query, webhooks
from generation_worker.domain.webhook import DEFAULT_EVENTS, Event
from generation_worker.web import auth, problems, requests
from generation_worker.web.api.control import CHANGES, Why, WhyBody
from generation_worker.web.app import Database, part

WEBHOOKS = "/worker/webhooks"
A_DAY, A_MONTH = 86_400, 30 * 86_400

Reader = Annotated[auth.Caller, auth.needs("read")]
Admin = Annotated[auth.Caller, auth.needs("admin")]
AllowPrivate = Annotated[bool, part("webhook_allow_private")]
"""Whether an endpoint may be in a private network."""
State = Literal["pending", "delivered", "dead"]


class EndpointView(BaseModel):
    """A URL that receives events."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str = Field(examples=["https://app.example.com/webhooks/images"])
    events: list[Event]
    user_id: str | None = Field(description="The only user whose events it receives; null: all.")
    state: Literal["ok", "failing", "resting", "disabled"] = Field(
        description="`failing`: its last response was an error. `resting`: it asked for a break by Retry-After."
    )
    reason: str | None = Field(description="Why it is failing or disabled.")
    since: datetime | None
    waiting: int = Field(description="Pending messages, a thousand at most.")
    dead: int = Field(description="Messages that were given up, a thousand at most.")
    created_at: datetime
    old_secret_until: datetime | None = Field(description="Until then the old secret also signs.")


class EndpointPage(BaseModel):
    """Endpoints, the oldest first."""

    endpoints: list[EndpointView]
    next_after: UUID | None = Field(description="Where to go on: `after`; null at the end.")


class EndpointFilters(requests.RequestModel):
    after: UUID | None = Field(default=None, description="`next_after` of the page before.")
    limit: int = Field(default=50, ge=1, le=100, description="Most endpoints of one page.")


class NewEndpointBody(Why):
    """A new endpoint: events and their receiver."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="https on port 443 of a public host, without a redirect.",
        examples=["https://app.example.com/webhooks/images"],
    )
    events: list[Event] = Field(
        default=list(DEFAULT_EVENTS), min_length=1, max_length=10, description="The events that it receives."
    )
    user_id: requests.UserId | None = Field(default=None, description="Only events of this user's jobs.")


class RotateBody(Why):
    keep_seconds: int = Field(
        default=A_DAY, strict=True, ge=0, le=A_MONTH, description="How long the old secret also signs."
    )


class EndpointSecret(BaseModel):
    """A secret; it is shown only this time."""

    id: UUID
    secret: str = Field(description="Signs each message, as Standard Webhooks says.", examples=["whsec_…"])


class EndpointTest(BaseModel):
    delivery_id: UUID = Field(description="A worker sends it now: see GET /worker/webhooks/deliveries.")


class DeliveryView(BaseModel):
    """One message to one endpoint, and the result of its last try."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The `webhook-id` of each try.")
    endpoint_id: UUID
    event: str = Field(examples=["job.completed"])
    job_id: UUID | None
    batch_id: UUID | None
    status: State = Field(description="`dead`: it was given up.")
    attempts: int
    next_at: datetime | None = Field(description="When the next try is.")
    last_status: int | None = Field(description="The status of the endpoint's last response.")
    last_error: str | None = Field(description="Why the last try failed.")
    created_at: datetime
    finished_at: datetime | None


class DeliveryPage(BaseModel):
    """Messages, the latest first."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = Field(description="Where to go on; null at the end.")


class DeliveryFilters(requests.RequestModel):
    endpoint_id: UUID | None = None
    job_id: UUID | None = None
    status: State | None = None
    failed: bool = Field(default=False, description="Only those whose last try failed, tried again or not.")
    limit: int = Field(default=50, ge=1, le=100, description="Most messages of one page.")
    cursor: requests.Cursor | None = None


class Replayed(BaseModel):
    id: UUID
    status: Literal["pending"] = "pending"


READS: dict[int | str, dict[str, Any]] = problems.documented(401, 403, 422, 429, 503)
READS_ONE = {**READS, **problems.documented(404)}
CHANGES_ONE = problems.documented(404, *CHANGES)

router = APIRouter(prefix=WEBHOOKS, tags=["webhooks"], route_class=auth.GuardedRoute)


# Deliveries. Their paths come before those of endpoints, whose ids would match them.


@router.get("/deliveries", responses=READS)
def list_deliveries(caller: Reader, filters: Annotated[DeliveryFilters, Query()], queries: Database) -> DeliveryPage:
    """The messages and their results, the latest first, a page at a time. Kept for a month at most."""
    found = webhooks.list_deliveries(
        queries,
        owner=caller.user_id,
        endpoint=filters.endpoint_id,
        job=filters.job_id,
        state=filters.status,
        failed=filters.failed,
        before=query.read_cursor(filters.cursor),
        limit=filters.limit + 1,
    )
    page = found[: filters.limit]
    return DeliveryPage(
        deliveries=[DeliveryView.model_validate(each) for each in page],
        next_cursor=query.write_cursor(query.Mark(page[-1].created_at, page[-1].id))
        if len(found) > len(page)
        else None,
    )


@router.post("/deliveries/{delivery_id}/replay", status_code=202, responses={**CHANGES_ONE, **problems.documented(409)})
def replay_delivery(caller: Admin, delivery_id: UUID, queries: Database, body: WhyBody = None) -> Replayed:
    """Send a message once more, delivered or not, with its id and its body."""
    by = audit_trail.Author(caller.name, body and body.reason)
    webhooks.replay_delivery(queries, delivery_id, owner=caller.user_id, by=by)
    return Replayed(id=delivery_id)


# Endpoints.


@router.get("", responses=READS)
def list_endpoints(caller: Reader, filters: Annotated[EndpointFilters, Query()], queries: Database) -> EndpointPage:
    """The endpoints, their events and their state. No secret is shown."""
    found = webhooks.list_endpoints(
        queries, owner=caller.user_id, after=filters.after, troubled_first=False, limit=filters.limit + 1
    )
    page = found[: filters.limit]
    return EndpointPage(
        endpoints=[EndpointView.model_validate(endpoint) for endpoint in page],
        next_after=page[-1].id if len(found) > len(page) else None,
    )


@router.post("", status_code=201, responses=problems.documented(*CHANGES))
def add_endpoint(
    caller: Admin, body: NewEndpointBody, queries: Database, allow_private: AllowPrivate
) -> EndpointSecret:
    """Send events to a URL from now on. The response has its secret, which cannot be shown again."""
    made = webhooks.create_endpoint(
        queries,
        body.url,
        body.events,
        user_id=caller.acting_for(body.user_id),
        allow_private=allow_private,
        by=audit_trail.Author(caller.name, body.reason),
    )
    return EndpointSecret(id=made.id, secret=made.secret)


@router.get("/{endpoint_id}", responses=READS_ONE)
def show_endpoint(caller: Reader, endpoint_id: UUID, queries: Database) -> EndpointView:
    """One endpoint and its state."""
    return _view(queries, caller, endpoint_id)


@router.delete("/{endpoint_id}", status_code=204, responses=READS_ONE)
def remove_endpoint(caller: Admin, endpoint_id: UUID, queries: Database, reason: requests.ForTheRecord = None) -> None:
    """Delete an endpoint with its pending messages."""
    webhooks.remove_endpoint(queries, endpoint_id, owner=caller.user_id, by=audit_trail.Author(caller.name, reason))


@router.post("/{endpoint_id}/rotate", responses=CHANGES_ONE)
def rotate_secret(
    caller: Admin, endpoint_id: UUID, queries: Database, body: Annotated[RotateBody | None, Body()] = None
) -> EndpointSecret:
    """Make a new secret. Both sign each message for a while, a day unless the request says otherwise."""
    asked = body or RotateBody()
    secret = webhooks.rotate_secret(
        queries,
        endpoint_id,
        keep=asked.keep_seconds,
        owner=caller.user_id,
        by=audit_trail.Author(caller.name, asked.reason),
    )
    return EndpointSecret(id=endpoint_id, secret=secret)


@router.post("/{endpoint_id}/disable", responses=CHANGES_ONE)
def disable_endpoint(caller: Admin, endpoint_id: UUID, queries: Database, body: WhyBody = None) -> EndpointView:
    """Send nothing to it until it is enabled; its pending messages stay."""
    by = audit_trail.Author(caller.name, body and body.reason)
    webhooks.disable_endpoint(queries, endpoint_id, owner=caller.user_id, by=by)
    return _view(queries, caller, endpoint_id)


@router.post("/{endpoint_id}/enable", responses=CHANGES_ONE)
def enable_endpoint(caller: Admin, endpoint_id: UUID, queries: Database, body: WhyBody = None) -> EndpointView:
    """Send to it again, its pending messages first. Events of the time between are not sent."""
    by = audit_trail.Author(caller.name, body and body.reason)
    webhooks.enable_endpoint(queries, endpoint_id, owner=caller.user_id, by=by)
    return _view(queries, caller, endpoint_id)


@router.post(
    "/{endpoint_id}/test", status_code=202, name="test_endpoint", responses={**CHANGES_ONE, **problems.documented(409)}
)
def send_test(caller: Admin, endpoint_id: UUID, queries: Database, body: WhyBody = None) -> EndpointTest:
    """Have a worker send a message of the type `endpoint.test`."""
    by = audit_trail.Author(caller.name, body and body.reason)
    return EndpointTest(delivery_id=webhooks.send_test(queries, endpoint_id, owner=caller.user_id, by=by))


def _view(queries: query.Queries, caller: auth.Caller, endpoint_id: UUID) -> EndpointView:
    return EndpointView.model_validate(webhooks.find_endpoint(queries, endpoint_id, owner=caller.user_id))
