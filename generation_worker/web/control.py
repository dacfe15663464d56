"""Control of the running fleet over HTTP. Whichever process is asked, every worker follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, Field, model_validator

from generation_worker.domain.job import Status
from generation_worker.domain.pause import EVERYTHING, Extent, What
from generation_worker.domain.payload import Kind
from generation_worker.web.auth import GuardedRoute, needs
from generation_worker.web.caller import Caller
from generation_worker.web.fields import Reason, RequestModel, UserId
from generation_worker.web.job_answers import JobUrls
from generation_worker.web.job_requests import Provider
from generation_worker.web.links import JOBS, Links
from generation_worker.web.pause_answers import KnownPause, Pause, pause_answer
from generation_worker.web.problems import documented

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
