"""Webhook endpoints over HTTP: who is told of what, and how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.db.query import Mark, read_cursor, write_cursor
from generation_worker.domain.webhook import USUAL, Event
from generation_worker.web.api.control import CHANGES, Why, WhyBody
from generation_worker.web.auth import Caller, GuardedRoute, needs
from generation_worker.web.problems import documented
from generation_worker.web.requests import Cursor, ForTheRecord, RequestModel, UserId

WEBHOOKS = "/worker/webhooks"
A_DAY, A_MONTH = 86_400, 30 * 86_400

Reader = Annotated[Caller, needs("read")]
Admin = Annotated[Caller, needs("admin")]


class EndpointView(BaseModel):
    """An address that is told of events."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str = Field(examples=["https://app.example.com/webhooks/images"])
    events: list[Event]
    user_id: str | None = Field(description="The only user whose jobs it is told of; null: all.")
    state: Literal["ok", "failing", "resting", "disabled"] = Field(
        description="`failing`: its last answer was no success. `resting`: it has asked to be left alone for a while."
    )
    reason: str | None = Field(description="Why it is failing or disabled.")
    since: datetime | None
    waiting: int = Field(description="Messages that wait for it, a thousand at most.")
    dead: int = Field(description="Messages that were given up, a thousand at most.")
    created_at: datetime
    old_secret_until: datetime | None = Field(description="Until then the secret before the present one signs, too.")


class EndpointPage(BaseModel):
    """Endpoints, the oldest first."""

    endpoints: list[EndpointView]
    next_after: UUID | None = Field(description="Where to go on: `after`; null at the end.")


class EndpointFilters(RequestModel):
    after: UUID | None = Field(default=None, description="`next_after` of the page before.")
    limit: int = Field(default=50, ge=1, le=100, description="Most endpoints of one page.")


class NewEndpointBody(Why):
    """What is told, and to whom."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="https on port 443 of a public host, without a redirect.",
        examples=["https://app.example.com/webhooks/images"],
    )
    events: list[Event] = Field(default=list(USUAL), min_length=1, max_length=10, description="What it is told of.")
    user_id: UserId | None = Field(default=None, description="Only of this user's jobs.")


class RotateBody(Why):
    keep_seconds: int = Field(
        default=A_DAY, strict=True, ge=0, le=A_MONTH, description="How long the old secret signs as well."
    )


class Secret(BaseModel):
    """Shown this one time."""

    id: UUID
    secret: str = Field(description="Signs each message, as Standard Webhooks says.", examples=["whsec_…"])


class Testing(BaseModel):
    delivery_id: UUID = Field(description="A worker sends it now: see GET /worker/webhooks/deliveries.")


class FoundEndpoint(Protocol):
    @property
    def id(self) -> UUID: ...


class MadeEndpoint(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def secret(self) -> str: ...


class Endpoints(Protocol):
    """Where they are. ``owner`` is the only user whose are there; None: all. May raise StoreUnavailable."""

    def endpoints(self, owner: str | None, *, after: UUID | None, limit: int) -> Sequence[FoundEndpoint]: ...

    def endpoint(self, endpoint: UUID, owner: str | None) -> FoundEndpoint: ...

    def add(
        self, url: str, events: Sequence[str], user: str | None, *, by: str, reason: str | None = None
    ) -> MadeEndpoint: ...

    def rotate(self, endpoint: UUID, owner: str | None, *, keep: float, by: str, reason: str | None) -> str: ...

    def disable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None: ...

    def enable(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None: ...

    def remove(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> None: ...

    def test(self, endpoint: UUID, owner: str | None, *, by: str, reason: str | None) -> UUID: ...


def endpoints_router(endpoints: Endpoints) -> APIRouter:
    """Add, list, rotate, disable, enable, remove, test."""
    router = APIRouter(prefix=WEBHOOKS, tags=["webhooks"], route_class=GuardedRoute)
    desk = _Desk(endpoints)
    add = router.add_api_route
    asks: dict[int | str, dict[str, Any]] = documented(401, 403, 422, 429, 503)
    changes = documented(404, *CHANGES)
    one = "/{endpoint_id}"
    add("", desk.list_endpoints, methods=["GET"], responses=asks)
    add("", desk.add_endpoint, methods=["POST"], status_code=201, responses=documented(*CHANGES))
    add(one, desk.show_endpoint, methods=["GET"], responses={**asks, **documented(404)})
    add(one, desk.remove_endpoint, methods=["DELETE"], status_code=204, responses={**asks, **documented(404)})
    add(f"{one}/rotate", desk.rotate_secret, methods=["POST"], responses=changes)
    add(f"{one}/disable", desk.disable_endpoint, methods=["POST"], responses=changes)
    add(f"{one}/enable", desk.enable_endpoint, methods=["POST"], responses=changes)
    add(
        f"{one}/test",
        desk.test_endpoint,
        methods=["POST"],
        status_code=202,
        responses={**changes, **documented(409)},
    )
    return router


class _Desk:
    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def list_endpoints(self, caller: Reader, filters: Annotated[EndpointFilters, Query()]) -> EndpointPage:
        """Who is told of what, and how it goes. No secret is shown."""
        found = self._endpoints.endpoints(caller.user_id, after=filters.after, limit=filters.limit + 1)
        page = found[: filters.limit]
        return EndpointPage(
            endpoints=[EndpointView.model_validate(endpoint) for endpoint in page],
            next_after=page[-1].id if len(found) > len(page) else None,
        )

    def show_endpoint(self, caller: Reader, endpoint_id: UUID) -> EndpointView:
        """One endpoint, and how it goes."""
        return self._view(caller, endpoint_id)

    def add_endpoint(self, caller: Admin, body: NewEndpointBody) -> Secret:
        """Tell an address from now on. Its secret is in the answer, and cannot be shown again."""
        user = caller.acting_for(body.user_id)
        made = self._endpoints.add(body.url, body.events, user, by=caller.name, reason=body.reason)
        return Secret(id=made.id, secret=made.secret)

    def rotate_secret(
        self, caller: Admin, endpoint_id: UUID, body: Annotated[RotateBody | None, Body()] = None
    ) -> Secret:
        """Make a new secret. Both sign each message for a while, a day unless the request says otherwise."""
        asked = body or RotateBody()
        secret = self._endpoints.rotate(
            endpoint_id, caller.user_id, keep=asked.keep_seconds, by=caller.name, reason=asked.reason
        )
        return Secret(id=endpoint_id, secret=secret)

    def disable_endpoint(self, caller: Admin, endpoint_id: UUID, body: WhyBody = None) -> EndpointView:
        """Tell it nothing any more; what waits for it goes on waiting."""
        self._endpoints.disable(endpoint_id, caller.user_id, by=caller.name, reason=body and body.reason)
        return self._view(caller, endpoint_id)

    def enable_endpoint(self, caller: Admin, endpoint_id: UUID, body: WhyBody = None) -> EndpointView:
        """Tell it again, first what has waited for it. What ended meanwhile is not told."""
        self._endpoints.enable(endpoint_id, caller.user_id, by=caller.name, reason=body and body.reason)
        return self._view(caller, endpoint_id)

    def remove_endpoint(self, caller: Admin, endpoint_id: UUID, reason: ForTheRecord = None) -> None:
        """Forget it, and what waits for it."""
        self._endpoints.remove(endpoint_id, caller.user_id, by=caller.name, reason=reason)

    def test_endpoint(self, caller: Admin, endpoint_id: UUID, body: WhyBody = None) -> Testing:
        """Have a worker send a message of the type `endpoint.test`."""
        reason = body and body.reason
        return Testing(delivery_id=self._endpoints.test(endpoint_id, caller.user_id, by=caller.name, reason=reason))

    def _view(self, caller: Caller, endpoint_id: UUID) -> EndpointView:
        return EndpointView.model_validate(self._endpoints.endpoint(endpoint_id, caller.user_id))


# Messages to webhook endpoints over HTTP: what was sent, what came of it, and once more.


State = Literal["pending", "delivered", "dead"]


class Delivery(BaseModel):
    """One message for one endpoint, and what came of its last try."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The `webhook-id` of each try.")
    endpoint_id: UUID
    event: str = Field(examples=["job.completed"])
    job_id: UUID | None
    batch_id: UUID | None
    status: State = Field(description="`dead`: it was given up.")
    attempts: int
    next_at: datetime | None = Field(description="When it is tried next.")
    last_status: int | None = Field(description="The endpoint's last answer.")
    last_error: str | None = Field(description="What was wrong with it.")
    created_at: datetime
    finished_at: datetime | None


class DeliveryPage(BaseModel):
    """Messages, the latest first."""

    deliveries: list[Delivery]
    next_cursor: str | None = Field(description="Where to go on; null at the end.")


class DeliveryFilters(RequestModel):
    endpoint_id: UUID | None = None
    job_id: UUID | None = None
    status: State | None = None
    failed: bool = Field(default=False, description="Only those whose last try went wrong, tried again or not.")
    limit: int = Field(default=50, ge=1, le=100, description="Most messages of one page.")
    cursor: Cursor | None = None


class Replayed(BaseModel):
    id: UUID
    status: Literal["pending"] = "pending"


class FoundDelivery(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


class Deliveries(Protocol):
    """Where they are. ``owner`` is the only user of whose endpoints they are; None: all. May raise StoreUnavailable."""

    def deliveries(
        self,
        owner: str | None,
        *,
        endpoint: UUID | None,
        job: UUID | None,
        state: str | None,
        failed: bool,
        before: Mark,
        limit: int,
    ) -> Sequence[FoundDelivery]: ...

    def replay(self, delivery: UUID, owner: str | None, *, by: str, reason: str | None) -> None: ...


def deliveries_router(deliveries: Deliveries) -> APIRouter:
    """List, replay. Comes before the endpoints' router, whose ids would take its path."""
    router = APIRouter(prefix=f"{WEBHOOKS}/deliveries", tags=["webhooks"], route_class=GuardedRoute)

    @router.get("", responses=documented(401, 403, 422, 429, 503))
    def list_deliveries(  # pyright: ignore[reportUnusedFunction]
        caller: Reader, filters: Annotated[DeliveryFilters, Query()]
    ) -> DeliveryPage:
        """Messages and what came of them, the latest first, a page at a time. Kept for a month at most."""
        found = deliveries.deliveries(
            caller.user_id,
            endpoint=filters.endpoint_id,
            job=filters.job_id,
            state=filters.status,
            failed=filters.failed,
            before=read_cursor(filters.cursor),
            limit=filters.limit + 1,
        )
        page = found[: filters.limit]
        return DeliveryPage(
            deliveries=[Delivery.model_validate(each) for each in page],
            next_cursor=write_cursor(Mark(page[-1].created_at, page[-1].id)) if len(found) > len(page) else None,
        )

    @router.post("/{delivery_id}/replay", status_code=202, responses=documented(404, 409, *CHANGES))
    def replay_delivery(  # pyright: ignore[reportUnusedFunction]
        caller: Admin, delivery_id: UUID, body: WhyBody = None
    ) -> Replayed:
        """Send a message once more, delivered or not, with its id and its body."""
        deliveries.replay(delivery_id, caller.user_id, by=caller.name, reason=body and body.reason)
        return Replayed(id=delivery_id)

    return router
