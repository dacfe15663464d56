"""Control of the running fleet over HTTP. Whichever process is asked, every worker follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from generation_worker.domain.errors import InvalidPayload
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
from generation_worker.domain.refusals import EnqueueRefused
from generation_worker.web.api.fleet import KnownPause, Pause, pause_answer
from generation_worker.web.api.job_models import JobUrls
from generation_worker.web.api.jobs import Provider
from generation_worker.web.auth import Caller, GuardedRoute, needs
from generation_worker.web.problems import documented
from generation_worker.web.requests import JOBS, PRINTABLE, Links, Reason, RequestModel, UserId

Operator = Annotated[Caller, needs("operate", whole_fleet=True)]
CHANGES = (400, 401, 403, 408, 413, 415, 422, 429, 503)


class Standing(Protocol):
    """Where a job stands, and what keeps it waiting all the same."""

    @property
    def status(self) -> str: ...
    @property
    def queue_position(self) -> int | None: ...
    @property
    def pauses(self) -> Sequence[KnownPause]: ...


class Control(Protocol):
    """What can be changed. Each method may raise StoreUnavailable."""

    def pause(self, extent: Extent, *, by: str, reason: str | None) -> bool: ...

    def resume(self, extent: Extent, *, by: str, reason: str | None) -> bool: ...

    def pauses(self) -> Sequence[KnownPause]: ...

    def wake(self) -> None: ...

    def run_next(self, job_id: UUID, *, by: str, reason: str | None) -> Standing: ...


class Why(RequestModel):
    """A change, and its reason."""

    reason: Reason | None = None


class ExtentBody(Why):
    """Everything, unless one thing is named."""

    provider: Provider | None = Field(default=None, description="Only what this provider makes.")
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

    worker: Literal["running", "paused"] = Field(description="`paused`: nothing at all is started.")
    changed: bool = Field(description="False: it was so before.")
    paused: list[Pause] = Field(description="All that is not started, each until it is resumed.")


class Woken(BaseModel):
    status: Literal["woken"] = "woken"


class FrontPlace(JobUrls):
    """A job at the front of its lane."""

    id: UUID
    status: Status
    queue_position: int | None = Field(description="Jobs of its lane that go before it; null if it runs already.")
    paused: list[Pause] = Field(description="What keeps it waiting all the same.")


WhyBody = Annotated[Why | None, Body()]


def control_router(control: Control, wake_here: Callable[[], None]) -> APIRouter:
    """Pause, resume, wake, run next. ``wake_here`` wakes the worker of this process."""
    router = APIRouter(prefix="/worker", tags=["control"], route_class=GuardedRoute)
    desk = _Desk(control, wake_here)
    add = router.add_api_route
    add("/stop", desk.stop_claiming, methods=["POST"], responses=documented(*CHANGES))
    add("/start", desk.start_claiming, methods=["POST"], responses=documented(*CHANGES))
    add("/wake", desk.wake_fleet, methods=["POST"], status_code=202, responses=documented(401, 403, 429, 503))
    return router


def front_router(control: Control) -> APIRouter:
    """Run this one next: a job's route."""
    router = APIRouter(prefix=JOBS, tags=["jobs"], route_class=GuardedRoute)
    answers: dict[int | str, dict[str, Any]] = documented(404, 409, *CHANGES)

    @router.post("/{job_id}/process", responses=answers)
    def process_job_next(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Operator, job_id: UUID, body: WhyBody = None
    ) -> FrontPlace:
        """Run this one next: put a waiting job at the front of its lane, whatever it waits for.

        Pauses, closed gates and an empty account keep it waiting as they keep others.
        """
        place = control.run_next(job_id, by=caller.name, reason=body and body.reason)
        return FrontPlace.model_validate(
            {
                "id": job_id,
                "status": place.status,
                "queue_position": place.queue_position,
                "paused": [pause_answer(each) for each in place.pauses],
                **Links(request).job(job_id)._asdict(),
            }
        )

    return router


class _Desk:
    def __init__(self, control: Control, wake_here: Callable[[], None]) -> None:
        self._control = control
        self._wake_here = wake_here

    def stop_claiming(self, caller: Operator, body: Annotated[ExtentBody | None, Body()] = None) -> Claiming:
        """Start nothing more in the whole fleet: nothing at all, or nothing of a provider, kind or user.

        What runs goes on, and new jobs are taken in and wait. It holds until `POST /worker/start` says the same.
        """
        asked = body or ExtentBody()
        return self._claiming(self._control.pause(asked.extent, by=caller.name, reason=asked.reason))

    def start_claiming(self, caller: Operator, body: Annotated[ExtentBody | None, Body()] = None) -> Claiming:
        """Go on with what `POST /worker/stop` has stopped. A stop of more, or of less, stays."""
        asked = body or ExtentBody()
        return self._claiming(self._control.resume(asked.extent, by=caller.name, reason=asked.reason))

    def wake_fleet(self, caller: Operator) -> Woken:  # noqa: ARG002 - asked who they are
        """Look for work now, in every worker: for those that poll slowly so that the database may sleep."""
        self._wake_here()
        self._control.wake()
        return Woken()

    def _claiming(self, changed: bool) -> Claiming:
        paused = [pause_answer(each) for each in self._control.pauses()]
        stopped = any(each.what == EVERYTHING.what for each in paused)
        return Claiming(worker="paused" if stopped else "running", changed=changed, paused=paused)


# The same change to many jobs over HTTP: counted first, then made a few seconds' worth at a time.


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
    desk = _BulkDesk(many)
    for path, change in {"cancel": desk.cancel_jobs, "release": desk.release_jobs, "retry": desk.retry_jobs}.items():
        router.add_api_route(f"/{path}", change, methods=["POST"], responses=documented(*CHANGES))
    return router


class _BulkDesk:
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


# The settings over HTTP: all are shown, those of the whole fleet are changed while it runs.


Rate = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_RATE)]
Price = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]


class FleetRow(Protocol):
    """What the whole fleet follows."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def updated_by(self) -> str | None: ...


class FleetSettings(Protocol):
    """Where they are kept. Each method may raise StoreUnavailable."""

    def settings(self) -> Sequence[FleetRow]: ...

    def change_settings(self, changes: Mapping[str, Any], *, by: str, reason: str | None) -> None: ...


class ConfigChange(Why):
    """What is left out stays as it is; null takes it back, so that what workers were started with holds again."""

    concurrency: int | None = Field(
        default=None, strict=True, ge=1, le=HIGHEST_CONCURRENCY, description="Jobs that one worker does at once."
    )
    poll_interval: float | None = Field(
        default=None,
        strict=True,
        ge=SHORTEST_POLL,
        le=LONGEST_POLL,
        description="Seconds between two looks of a busy worker.",
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
        description="Endpoints may be told of balances that fall below it; 0: of none.",
    )
    caller_may_set_cost: bool = Field(default=False, strict=True)
    default_provider: Provider = ""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"concurrency": 8, "calls_per_minute": {"gemini": 30}, "reason": "a quiet night"}]
        }
    )

    def changes(self) -> dict[str, Any]:
        """Name → value, as the fleet's settings are called."""
        given = self.model_dump(exclude_unset=True, exclude={"reason"})
        return {name: value for head, part in given.items() for name, value in _spread(head, part)}


class ShownSetting(BaseModel):
    """A setting as it holds, in the words of the environment."""

    name: str
    value: str = Field(description="Of a secret only whether it is set.")
    source: str = Field(description="`database` where the fleet has set it; else default, environment, .env or option.")
    default: str
    secret: bool
    updated_by: str | None = Field(description="Who has set it for the fleet.")
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
    fleet: list[ShownFleetSetting] = Field(description="What every process follows, prices and pauses included.")


def config_router(kept: FleetSettings, describe: Callable[[Sequence[FleetRow]], Sequence[Any]]) -> APIRouter:
    """``describe`` says what the settings of this process are while the fleet has set something."""
    router = APIRouter(prefix="/worker/config", tags=["control"], route_class=GuardedRoute)

    def shown() -> Config:
        fleet = kept.settings()
        return Config.model_validate({"settings": list(describe(fleet)), "fleet": list(fleet)})

    @router.get("", responses=documented(401, 403, 429, 503))
    def show_config(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("operate", whole_fleet=True)],  # noqa: ARG001 - asked who they are
    ) -> Config:
        """Every setting, where it comes from, and who has set it for the fleet. Secrets are never shown."""
        return shown()

    @router.put("", responses=documented(*CHANGES))
    def change_config(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("admin", whole_fleet=True)], body: ConfigChange
    ) -> Config:
        """Change settings of the whole fleet: all that are sent, or none. Workers follow within a heartbeat."""
        kept.change_settings(body.changes(), by=caller.name, reason=body.reason)
        return shown()

    return router


def _spread(head: str, part: Any) -> list[tuple[str, Any]]:
    if not isinstance(part, dict):
        return [(head, part)]
    return [(f"{head}.{name}", value) for name, value in part.items()]  # pyright: ignore[reportUnknownVariableType]
