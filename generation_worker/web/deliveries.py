"""Messages to webhook endpoints over HTTP: what was sent, what came of it, and once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.paging import Mark, read_cursor, write_cursor
from generation_worker.web.auth import GuardedRoute
from generation_worker.web.control import CHANGES, WhyBody
from generation_worker.web.endpoints import WEBHOOKS, Admin, Reader
from generation_worker.web.fields import Cursor, RequestModel
from generation_worker.web.problems import documented

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
