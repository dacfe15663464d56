"""One job from all sides, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi import Form as FormBody

from generation_worker.domain.job import FINAL, WAITING, Status
from generation_worker.domain.refusals import JobNotFound
from generation_worker.domain.trace import trace_id_of
from generation_worker.web.caller import Caller
from generation_worker.web.control import Standing
from generation_worker.web.dashboard.links import JOBS
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import go_back, render
from generation_worker.web.dashboard.timeline import Moment, timeline
from generation_worker.web.dashboard.untyped import fields, items
from generation_worker.web.dashboard.waiting import Reason, reasons
from generation_worker.web.dashboard.wishes import inputs_of, is_ours, wish_in
from generation_worker.web.fleet_questions import Ask
from generation_worker.web.jobs import Line, Placed, place_in_line

MANY = 100


class JobQuestions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def job_details(self, job_id: UUID) -> Any: ...

    def job_changes(self, job_id: UUID) -> Sequence[Any]: ...

    def job_pauses(self, job_id: UUID) -> Sequence[Any]: ...

    def webhook_deliveries(self, *, job: UUID | None, limit: int) -> Sequence[Any]: ...

    def gates(self, *, limit: int) -> Sequence[Any]: ...


class JobChanges(Line, Protocol):
    """What whoever enqueues may do to a job. ``user`` None: whosever it is. May raise StoreUnavailable."""

    def cancel(self, job_id: UUID, user: str | None, *, by: str, reason: str | None) -> Status: ...

    def replay(self, job_id: UUID, user: str | None, *, most_waiting: int, by: str, reason: str | None) -> Placed: ...


class FrontAndRelease(Protocol):
    """What an operator may do beside that. May raise StoreUnavailable."""

    def run_next(self, job_id: UUID, *, by: str, reason: str | None) -> Standing: ...

    def release(self, job_id: UUID, *, by: str, reason: str | None) -> str | None: ...


class Input(NamedTuple):
    """An image that the job was given; ``shown``: it lies in our storage."""

    name: str
    shown: bool


class Output(NamedTuple):
    """A picture of the result, and what is known of it."""

    key: str
    said: str


class Sheet(NamedTuple):
    """All that the page shows."""

    job: dict[str, Any]
    wish: str | None
    inputs: list[Input]
    images: list[Output]
    model: str | None
    moments: list[Moment]
    reasons: list[Reason]
    position: int | None
    eta: float | None
    trace_id: str


def job_page_router(jobs: JobChanges, control: FrontAndRelease, ask: Ask[JobQuestions]) -> APIRouter:
    router = APIRouter(prefix=f"{JOBS}/{{job_id}}", include_in_schema=False, route_class=PageRoute)
    desk = _Desk(jobs, control, ask)
    router.add_api_route("", desk.show_job, methods=["GET"])
    router.add_api_route("/cancel", desk.cancel_job, methods=["POST"])
    router.add_api_route("/retry", desk.retry_job, methods=["POST"])
    router.add_api_route("/run-next", desk.run_job_next, methods=["POST"])
    router.add_api_route("/release", desk.release_job, methods=["POST"])
    return router


class _Desk:
    def __init__(self, jobs: JobChanges, control: FrontAndRelease, ask: Ask[JobQuestions]) -> None:
        self._jobs = jobs
        self._control = control
        self._ask = ask

    def show_job(self, request: Request, caller: Annotated[Caller, sees("read")], job_id: UUID) -> Response:
        sheet = self._sheet(job_id)
        may = {name: caller.may(scope) and _possible(name, sheet.job) for name, scope in _SCOPES.items()}
        return render(request, "job.html", sheet=sheet, job=sheet.job, may=may, farthest=self._jobs.farthest)

    def cancel_job(
        self, caller: Annotated[Caller, sees("enqueue")], job_id: UUID, form: Annotated[Form, FormBody()]
    ) -> Response:
        status = self._jobs.cancel(job_id, None, by=caller.name, reason=form.reason)
        said = (
            "The job is cancelled." if status == "cancelled" else "It was asked to stop; it may still complete first."
        )
        return go_back(form.back, said, otherwise=_page(job_id))

    def retry_job(
        self, caller: Annotated[Caller, sees("enqueue")], job_id: UUID, form: Annotated[Form, FormBody()]
    ) -> Response:
        made = self._jobs.replay(job_id, None, most_waiting=caller.most_waiting, by=caller.name, reason=form.reason)
        said = f"It was replayed before, as {made.id}." if made.duplicate else f"Enqueued again, as {made.id}."
        return go_back(form.back, said, otherwise=_page(made.id))

    def run_job_next(
        self, caller: Annotated[Caller, sees("operate")], job_id: UUID, form: Annotated[Form, FormBody()]
    ) -> Response:
        place = self._control.run_next(job_id, by=caller.name, reason=form.reason)
        said = "The job is at the front of its lane."
        return go_back(
            form.back, f"{said} It is paused all the same." if place.pauses else said, otherwise=_page(job_id)
        )

    def release_job(
        self, caller: Annotated[Caller, sees("operate")], job_id: UUID, form: Annotated[Form, FormBody()]
    ) -> Response:
        held_by = self._control.release(job_id, by=caller.name, reason=form.reason)
        said = (
            "The job is due now." if held_by is None else f"The job is taken from {held_by}; another worker takes over."
        )
        return go_back(form.back, said, otherwise=_page(job_id))

    def _sheet(self, job_id: UUID) -> Sheet:
        """Raises JobNotFound."""
        with self._ask() as questions:
            details = questions.job_details(job_id)
            if details is None:
                raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
            job: dict[str, Any] = details.job
            waits = job["status"] in WAITING
            pauses = questions.job_pauses(job_id) if waits else ()
            gates = questions.gates(limit=MANY) if waits else ()
            moments = timeline(
                details, questions.job_changes(job_id), questions.webhook_deliveries(job=job_id, limit=MANY)
            )
        position, eta = place_in_line(self._jobs, job)  # on another connection, so that nobody waits for two
        return Sheet(
            job=job,
            wish=wish_in(job["payload"]),
            inputs=[_input(image) for image in inputs_of(job["kind"], job["payload"])],
            images=[_output(fields(image)) for image in items(fields(job["result"]).get("images"))],
            model=fields(job["result"]).get("model"),
            moments=moments,
            reasons=reasons(job, pauses, gates, self._jobs.pace(job["provider"]) if waits else None),
            position=position,
            eta=eta,
            trace_id=trace_id_of(str(job_id), job["traceparent"]),
        )


_SCOPES: dict[str, Any] = {"cancel": "enqueue", "retry": "enqueue", "run_next": "operate", "release": "operate"}


def _possible(change: str, job: dict[str, Any]) -> bool:
    """Whether the job is in a state for it; the database decides."""
    match change:
        case "cancel":
            return job["status"] not in FINAL and job["cancel_requested_at"] is None
        case "retry":
            return job["status"] in ("failed", "cancelled") and job["replayed_as"] is None
        case "run_next":
            return job["status"] in WAITING
        case _:
            return job["status"] in ("scheduled", "rate_limited", "processing")


def _input(image: Any) -> Input:
    return Input(image.key or image.url, bool(image.key and is_ours(image.key)))


def _output(image: dict[str, Any]) -> Output:
    """Of an image as the row has it; only its key is there for sure."""
    size = f"{image['width']} × {image['height']}" if image.get("width") and image.get("height") else None
    weight = f"{image['bytes'] / 1000:,.1f} kB" if isinstance(image.get("bytes"), int) else None
    return Output(str(image.get("key", "")), " · ".join(filter(None, (size, image.get("content_type"), weight))))


def _page(job_id: UUID) -> str:
    return f"{JOBS}/{job_id}"
