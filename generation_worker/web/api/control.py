"""Control of the running fleet over HTTP: pause, resume, wake, run a job next, change many jobs, change settings.

Any process answers; every worker follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from generation_worker.db import audit_trail, bulk, fleet, query
from generation_worker.db.jobs import queue_position, run_next
from generation_worker.domain.fleet import (
    EVERYTHING,
    HIGHEST_CONCURRENCY,
    HIGHEST_RATE,
    LONGEST_POLL,
    SHORTEST_POLL,
    Extent,
    What,
)
from generation_worker.domain.job import Status
from generation_worker.domain.payload import Kind
from generation_worker.web.api.fleet import PauseView
from generation_worker.web.api.job_models import JobUrls
from generation_worker.web.api.jobs import Provider
from generation_worker.web.app import Database, part
from generation_worker.web.auth import Caller, GuardedRoute, needs
from generation_worker.web.problems import documented
from generation_worker.web.requests import JOBS, PRINTABLE, Links, Reason, RequestModel, UserId

CHANGES = (400, 401, 403, 408, 413, 415, 422, 429, 503)
PARK_SECONDS = 2.5
"""How long a request parks jobs after a pause; maintenance parks the others."""

Operator = Annotated[Caller, needs("operate", whole_fleet=True)]
Admin = Annotated[Caller, needs("admin", whole_fleet=True)]
Wake = Callable[[], None]
"""Wakes the worker of this process."""
DescribeSettings = Callable[[Sequence[fleet.FleetSetting]], Sequence[Any]]
"""Returns the settings of this process, as they are with those of the fleet: ``config.describe``."""
WakePart = Annotated[Wake, part("wake")]
DescribePart = Annotated[DescribeSettings, part("describe_settings")]

Rate = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_RATE)]
Price = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE)]


class Why(RequestModel):
    """The reason of a change."""

    reason: Reason | None = None


class ExtentBody(Why):
    """Everything, unless one thing is named."""

    provider: Provider | None = Field(default=None, description="Only jobs for this provider.")
    kind: Kind | None = Field(default=None, description="Only jobs of this kind.")
    user_id: UserId | None = Field(default=None, description="Only this user's jobs.")

    @model_validator(mode="after")
    def _one_thing(self) -> ExtentBody:
        if len(self._named()) > 1:
            raise ValueError("name a provider, a kind or a user_id, one at a time")
        return self

    @property
    def extent(self) -> Extent:
        return next(iter(self._named()), EVERYTHING)

    def _named(self) -> list[Extent]:
        whats: dict[What, str | None] = {"provider": self.provider, "kind": self.kind, "user": self.user_id}
        return [Extent(what, name) for what, name in whats.items() if name is not None]


class Claiming(BaseModel):
    """What the fleet starts from now on."""

    worker: Literal["running", "paused"] = Field(description="`paused`: no job is started.")
    changed: bool = Field(description="False: it was so before.")
    paused: list[PauseView] = Field(description="All pauses; each lasts until it is resumed.")


class Woken(BaseModel):
    status: Literal["woken"] = "woken"


class FrontPlace(JobUrls):
    """A job at the front of its lane."""

    id: UUID
    status: Status
    queue_position: int | None = Field(description="Jobs of its lane that go before it; null if it runs already.")
    paused: list[PauseView] = Field(description="Pauses that still keep it waiting.")


class JobChoice(RequestModel):
    """Jobs that meet all of the given conditions."""

    status: Status | None = Field(
        default=None,
        description="One to which the change usually applies, or `processing` to release, `cancelled` to retry.",
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

    @property
    def filter(self) -> bulk.Filter:
        return bulk.Filter(
            status=self.status,
            kind=self.kind,
            provider=self.provider,
            user=self.user_id,
            batch=self.batch_id,
            worker=self.worker,
            code=self.error_code,
            older=self.older_than,
        )


class BulkChange(Why):
    """Which jobs, and whether only to count them."""

    filter: JobChoice
    dry_run: bool = Field(default=False, strict=True, description="Only count.")
    after: UUID | None = Field(default=None, description="`next` of the answer before.")


class RefusedChange(BaseModel):
    """A job that was not changed."""

    id: UUID
    code: str
    message: str


class Changed(BaseModel):
    """The result of a change, or of its dry run."""

    dry_run: bool
    jobs: int = Field(description="Number of changed jobs; in a dry run, of those that would be changed.")
    by_status: dict[Status, int] | None = Field(default=None, description="The same by status, in a dry run.")
    refused: list[RefusedChange] = []
    next: UUID | None = Field(
        default=None, description="There may be more: send the same again with this as `after`. Null: that was all."
    )


class ConfigChange(Why):
    """A setting that is left out stays; null unsets it, so that workers use the value that they were started with."""

    concurrency: int | None = Field(
        default=None, strict=True, ge=1, le=HIGHEST_CONCURRENCY, description="Jobs that one worker processes at once."
    )
    poll_interval: float | None = Field(
        default=None,
        strict=True,
        ge=SHORTEST_POLL,
        le=LONGEST_POLL,
        description="Seconds between two polls of a busy worker.",
    )
    calls_per_minute: dict[str, Rate | None] = Field(default={}, max_length=100, description="By provider or key.")
    price: dict[str, Price | None] = Field(
        default={}, max_length=100, description="Credits for a job, by kind or by kind and provider: `KIND.PROVIDER`."
    )
    seconds_per_credit: float = Field(
        default=0, strict=True, gt=0, le=86_400, description="The pace of the fair order."
    )
    credits_low: int = Field(
        default=0,
        strict=True,
        ge=0,
        le=1_000_000_000,
        description="A balance that falls below it is the event `credits.low`; 0: no such events.",
    )
    caller_may_set_cost: bool = Field(default=False, strict=True)
    default_provider: Provider = ""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"concurrency": 8, "calls_per_minute": {"gemini": 30}, "reason": "a quiet night"}]
        }
    )

    def changes(self) -> dict[str, Any]:
        """Values by the names of the fleet's settings."""
        given = self.model_dump(exclude_unset=True, exclude={"reason"})
        return {name: value for head, each in given.items() for name, value in _spread(head, each)}


class ShownSetting(BaseModel):
    """A setting and its value in effect, by its name in the environment."""

    name: str
    value: str = Field(description="For a secret only whether it is set.")
    source: str = Field(description="`database` if it is set for the fleet; else default, environment, .env or option.")
    default: str
    secret: bool
    updated_by: str | None = Field(description="Actor who set it for the fleet.")
    updated_at: datetime | None

    model_config = ConfigDict(from_attributes=True)


class ShownFleetSetting(BaseModel):
    """A setting of the whole fleet: a price, a limit, a pause."""

    name: str
    value: Any
    updated_by: str | None
    updated_at: datetime

    model_config = ConfigDict(from_attributes=True)


class Config(BaseModel):
    settings: list[ShownSetting] = Field(description="Of the process that answers.")
    fleet: list[ShownFleetSetting] = Field(description="Of the whole fleet, prices and pauses included.")


ExtentPart = Annotated[ExtentBody | None, Body()]
WhyBody = Annotated[Why | None, Body()]
BulkBody = Annotated[
    BulkChange,
    Body(
        openapi_examples={
            "count": {"summary": "How many", "value": {"filter": {"user_id": "eve"}, "dry_run": True}},
            "change": {"summary": "Do it", "value": {"filter": {"user_id": "eve"}, "reason": "closed their account"}},
        }
    ),
]

router = APIRouter(prefix="/worker", tags=["control"], route_class=GuardedRoute)
jobs_router = APIRouter(prefix=JOBS, tags=["jobs"], route_class=GuardedRoute)


@router.post("/stop", responses=documented(*CHANGES))
def stop_claiming(caller: Operator, queries: Database, body: ExtentPart = None) -> Claiming:
    """Start no more jobs in the whole fleet: none at all, or none of a provider, kind or user.

    Running jobs continue, and new jobs are accepted and wait. It lasts until the same is sent to `POST /worker/start`.
    """
    asked = body or ExtentBody()
    return _claiming(queries, pause(queries, asked.extent, by=audit_trail.Author(caller.name, asked.reason)))


@router.post("/start", responses=documented(*CHANGES))
def start_claiming(caller: Operator, queries: Database, body: ExtentPart = None) -> Claiming:
    """Start again what `POST /worker/stop` has stopped. A stop of a larger or smaller extent stays."""
    asked = body or ExtentBody()
    return _claiming(queries, resume(queries, asked.extent, by=audit_trail.Author(caller.name, asked.reason)))


@router.post("/wake", status_code=202, responses=documented(401, 403, 429, 503))
def wake_fleet(_: Operator, queries: Database, wake: WakePart) -> Woken:
    """Make every worker poll now: for those that poll slowly so that the database may sleep."""
    wake()
    fleet.wake_workers(queries)
    return Woken()


@router.get("/config", responses=documented(401, 403, 429, 503))
def show_config(_: Operator, queries: Database, describe: DescribePart) -> Config:
    """Every setting, its source, and who set it for the fleet. Secrets are never shown."""
    return _config(queries, describe)


@router.put("/config", responses=documented(*CHANGES))
def change_config(caller: Admin, body: ConfigChange, queries: Database, describe: DescribePart) -> Config:
    """Change settings of the whole fleet: all that are sent, or none. Workers follow within a heartbeat."""
    fleet.change_settings(queries, body.changes(), by=audit_trail.Author(caller.name, body.reason))
    return _config(queries, describe)


@jobs_router.post("/{job_id}/process", responses=documented(404, 409, *CHANGES))
def process_job_next(
    request: Request, caller: Operator, job_id: UUID, queries: Database, body: WhyBody = None
) -> FrontPlace:
    """Put a waiting job at the front of its lane, whatever it waits for.

    Pauses, closed gates and an empty account keep it waiting like any other job.
    """
    moved = run_next(queries, job_id, by=audit_trail.Author(caller.name, body and body.reason))
    return FrontPlace.model_validate(
        {
            "id": job_id,
            "status": moved.status,
            "queue_position": queue_position(queries, job_id),
            "paused": [PauseView.of(each) for each in fleet.pauses_of_job(queries, job_id)],
            **Links(request).job(job_id)._asdict(),
        }
    )


@jobs_router.post("/cancel", responses=documented(*CHANGES))
def cancel_jobs(caller: Operator, body: BulkBody, queries: Database) -> Changed:
    """Cancel waiting jobs, and request running ones to stop. Charges are refunded."""
    return _change_jobs(queries, "cancel", caller.name, body)


@jobs_router.post("/release", responses=documented(*CHANGES))
def release_jobs(caller: Operator, body: BulkBody, queries: Database) -> Changed:
    """Make jobs due now that wait for their time.

    With `worker`, or the status `processing`, take jobs from a worker that is stuck: another takes over.
    """
    return _change_jobs(queries, "release", caller.name, body)


@jobs_router.post("/retry", responses=documented(*CHANGES))
def retry_jobs(caller: Operator, body: BulkBody, queries: Database) -> Changed:
    """Make new jobs of those that failed and were not replayed yet, at today's price."""
    return _change_jobs(queries, "replay", caller.name, body)


def pause(queries: query.Queries, extent: Extent, *, by: audit_trail.Author) -> bool:
    """Pause ``extent`` and park its jobs for a while; whether it was not paused before. Raises InvalidRequest."""
    changed = fleet.pause(queries, extent, by=by)
    _park_for_a_while(queries)
    return changed


def resume(queries: query.Queries, extent: Extent, *, by: audit_trail.Author) -> bool:
    """End the pause of ``extent`` and move its jobs back for a while; whether it was paused."""
    changed = fleet.resume(queries, extent, by=by)
    _park_for_a_while(queries)
    return changed


def _park_for_a_while(queries: query.Queries) -> None:
    until = time.monotonic() + PARK_SECONDS
    for _ in fleet.park_paused_jobs(queries):
        if time.monotonic() >= until:
            return


def _claiming(queries: query.Queries, changed: bool) -> Claiming:
    paused = [PauseView.of(each) for each in fleet.list_pauses(queries)]
    stopped = any(each.what == EVERYTHING.what for each in paused)
    return Claiming(worker="paused" if stopped else "running", changed=changed, paused=paused)


def _change_jobs(queries: query.Queries, action: bulk.ActionName, by: str, body: BulkChange) -> Changed:
    chosen = body.filter.filter
    if body.dry_run:
        counts = bulk.count_jobs(queries, action, chosen)
        return Changed.model_validate({"dry_run": True, "jobs": sum(counts.values()), "by_status": counts})
    results, left = bulk.apply_for_request(
        queries, action, chosen, by=audit_trail.Author(by, body.reason), after=body.after
    )
    refused = [
        RefusedChange(id=each.id, code=each.refused.code, message=each.refused.message)
        for each in results
        if each.refused
    ]
    return Changed(dry_run=False, jobs=len(results) - len(refused), refused=refused, next=left)


def _config(queries: query.Queries, describe: DescribeSettings) -> Config:
    settings = fleet.list_settings(queries)
    return Config.model_validate({"settings": list(describe(settings)), "fleet": settings})


def _spread(head: str, given: Any) -> list[tuple[str, Any]]:
    if not isinstance(given, dict):
        return [(head, given)]
    return [(f"{head}.{name}", value) for name, value in given.items()]  # pyright: ignore[reportUnknownVariableType]
