"""The same change to many jobs over HTTP: counted first, then made a few seconds' worth at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.job import Status
from generation_worker.domain.payload import Kind
from generation_worker.domain.refusals import EnqueueRefused
from generation_worker.web.auth import GuardedRoute
from generation_worker.web.control import CHANGES, Operator, Why
from generation_worker.web.fields import PRINTABLE, RequestModel, UserId
from generation_worker.web.job_requests import Provider
from generation_worker.web.links import JOBS
from generation_worker.web.problems import documented

Action = Literal["cancel", "release", "replay"]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE)]


class Step(Protocol):
    """One job, and what was refused, if it was."""

    @property
    def id(self) -> UUID: ...
    @property
    def refused(self) -> EnqueueRefused | InvalidPayload | None: ...


class Many(Protocol):
    """Changes many jobs. Each method may raise StoreUnavailable."""

    def count(self, action: Action, chosen: Mapping[str, Any]) -> Mapping[str, int]: ...

    def carry_out(
        self, action: Action, chosen: Mapping[str, Any], *, after: UUID | None, by: str, reason: str | None
    ) -> tuple[Sequence[Step], UUID | None]: ...


class JobChoice(RequestModel):
    """Jobs that fit everything that is named."""

    status: Status | None = Field(
        default=None,
        description="Of those that the change is usually made to, or `processing` to release, `cancelled` to retry.",
    )
    kind: Kind | None = None
    provider: Provider | None = None
    user_id: UserId | None = None
    batch_id: UUID | None = None
    worker: Name | None = Field(default=None, description="Held by this worker.")
    error_code: Name | None = None
    older_than: float | None = Field(
        default=None, ge=0, le=10**9, allow_inf_nan=False, description="Seconds since it was claimed, or else enqueued."
    )

    def values(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "kind": self.kind,
            "provider": self.provider,
            "user": self.user_id,
            "batch": self.batch_id,
            "worker": self.worker,
            "code": self.error_code,
            "older": self.older_than,
        }


class BulkChange(Why):
    """Which jobs, and whether only to count them."""

    filter: JobChoice
    dry_run: bool = Field(default=False, strict=True, description="Only count.")
    after: UUID | None = Field(default=None, description="`next` of the answer before.")


class Refused(BaseModel):
    """A job that was left as it is."""

    id: UUID
    code: str
    message: str


class Changed(BaseModel):
    """What was done, or would be."""

    dry_run: bool
    jobs: int = Field(description="That were changed; those that would be, in a dry run.")
    by_status: dict[Status, int] | None = Field(default=None, description="The same by status, in a dry run.")
    refused: list[Refused] = []
    next: UUID | None = Field(
        default=None, description="There may be more: send the same again with this as `after`. Null: that was all."
    )


BODY = Body(
    openapi_examples={
        "count": {"summary": "How many", "value": {"filter": {"user_id": "eve"}, "dry_run": True}},
        "change": {"summary": "Do it", "value": {"filter": {"user_id": "eve"}, "reason": "closed their account"}},
    }
)


def bulk_router(many: Many) -> APIRouter:
    """Cancel, release, retry, by a filter."""
    router = APIRouter(prefix=JOBS, tags=["jobs"], route_class=GuardedRoute)
    desk = _Desk(many)
    for path, change in {"cancel": desk.cancel_jobs, "release": desk.release_jobs, "retry": desk.retry_jobs}.items():
        router.add_api_route(f"/{path}", change, methods=["POST"], responses=documented(*CHANGES))
    return router


class _Desk:
    def __init__(self, many: Many) -> None:
        self._many = many

    def cancel_jobs(self, caller: Operator, body: Annotated[BulkChange, BODY]) -> Changed:
        """Cancel jobs that wait, and ask those that run to stop. What was charged comes back."""
        return self._change("cancel", caller.name, body)

    def release_jobs(self, caller: Operator, body: Annotated[BulkChange, BODY]) -> Changed:
        """Make jobs due now that wait for their time.

        With `worker`, or the status `processing`, take jobs from a worker that is stuck: another takes over.
        """
        return self._change("release", caller.name, body)

    def retry_jobs(self, caller: Operator, body: Annotated[BulkChange, BODY]) -> Changed:
        """Make new jobs of those that failed and were not replayed yet, at today's price."""
        return self._change("replay", caller.name, body)

    def _change(self, action: Action, by: str, body: BulkChange) -> Changed:
        chosen = body.filter.values()
        if body.dry_run:
            by_status = self._many.count(action, chosen)
            return Changed.model_validate(
                {"dry_run": True, "jobs": sum(by_status.values()), "by_status": dict(by_status)}
            )
        steps, left = self._many.carry_out(action, chosen, after=body.after, by=by, reason=body.reason)
        refused = [
            Refused(id=step.id, code=step.refused.code, message=step.refused.message) for step in steps if step.refused
        ]
        return Changed(dry_run=False, jobs=len(steps) - len(refused), refused=refused, next=left)
