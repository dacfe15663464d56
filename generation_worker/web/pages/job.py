"""One job from all sides, and what can be done about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi import Form as FormBody

from generation_worker.domain.estimate import Pace, span
from generation_worker.domain.fleet import extent_of
from generation_worker.domain.job import FINAL, NO_PROVIDER, WAITING, Status, trace_id_of
from generation_worker.domain.refusals import JobNotFound
from generation_worker.web.api.control import Standing
from generation_worker.web.api.fleet import Ask
from generation_worker.web.api.jobs import Line, Placed, place_in_line
from generation_worker.web.auth import Caller
from generation_worker.web.pages.jobs import inputs_of, is_ours, wish_in
from generation_worker.web.pages.render import HOME, JOBS, fields, go_back, items, render
from generation_worker.web.pages.session import Form, PageRoute, sees

# What happened to a job, in the order of time: attempts, calls, money, people, webhooks.


Row = Mapping[str, Any]
Facts = tuple[tuple[str, str], ...]


class Moment(NamedTuple):
    """``what`` is one of enqueued, attempt, call, money, person, webhook, end; ``tone`` good, bad or nothing."""

    at: datetime
    what: str
    text: str
    facts: Facts = ()
    error: str | None = None
    tone: str = ""
    link: tuple[str, str] | None = None
    """An address, and what it leads to."""


def timeline(details: Any, changes: Iterable[Any], deliveries: Iterable[Any]) -> list[Moment]:
    """``details`` as ``Insights.job_details`` has them. What happened at one moment keeps this order."""
    moments = [
        *_beginning(details.job),
        *_of_entries(details.entries),
        *_of_attempts(details.job, details.attempts),
        *_of_calls(details.calls),
        *_of_changes(changes),
        *_end(details.job),
        *_of_deliveries(deliveries),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def _beginning(job: Row) -> Iterator[Moment]:
    facts = _facts(
        priority=job["priority"] or None,
        idempotency_key=job["idempotency_key"],
        number_in_batch=job["batch_index"] + 1 if job["batch_id"] else None,
    )
    link = (f"{JOBS}/{job['retry_of']}", "in place of an earlier job") if job["retry_of"] else None
    yield Moment(job["created_at"], "enqueued", "Enqueued", facts, link=link)
    if job["cancel_requested_at"] is not None:
        yield Moment(job["cancel_requested_at"], "person", "Asked to stop")


def _of_attempts(job: Row, attempts: Iterable[Row]) -> Iterator[Moment]:
    for each in attempts:
        begun = _facts(worker=each["worker"])
        yield Moment(each["started_at"], "attempt", f"Attempt {each['attempt']} began", begun)
        yield Moment(
            min(each["ended_at"], job["finished_at"] or each["ended_at"]),  # both are set by one settlement
            "attempt",
            f"Attempt {each['attempt']} ended: {each['outcome'].replace('_', ' ')}",
            _facts(after=span(each["seconds"])),
            _error(each["error_code"], each["error_message"]),
            {"completed": "good", "released": "", "cancelled": "", "rate_limited": ""}.get(each["outcome"], "bad"),
        )
    if job["locked_at"] is not None:
        yield Moment(job["locked_at"], "attempt", f"Attempt {job['attempt']} began", _facts(worker=job["locked_by"]))


def _of_calls(calls: Iterable[Row]) -> Iterator[Moment]:
    for call in calls:
        facts = _facts(
            model=call["model"],
            key=call["key_label"],
            id=call["provider_ref"],
            took=None if call["milliseconds"] is None else f"{call['milliseconds']:,} ms",
            paid={True: "yes", False: "no"}.get(call["spent"], "not known"),
            usage=_usage(call["usage"]),
        )
        text = f"Call {call['number']} to {call['provider']}"
        tone = "bad" if call["error_code"] else ""
        if call["finished_at"] is None:
            text += ", whose answer is awaited or was lost"
        yield Moment(call["started_at"], "call", text, facts, call["error_code"], tone)


def _of_entries(entries: Iterable[Row]) -> Iterator[Moment]:
    for entry in entries:
        text = f"{entry['kind'].capitalize()} of {abs(entry['amount']):,}"
        facts = _facts(
            account=entry["user_id"], balance=f"{entry['balance_after']:,}", entry=entry["seq"], reason=entry["reason"]
        )
        yield Moment(entry["created_at"], "money", text, facts)


def _of_changes(changes: Iterable[Any]) -> Iterator[Moment]:
    for change in changes:
        facts = _facts(by=change.actor, why=change.reason, change=_changed(change.before, change.after))
        yield Moment(change.at, "person", change.action, facts)


def _of_deliveries(deliveries: Iterable[Any]) -> Iterator[Moment]:
    for each in deliveries:
        facts = _facts(tries=each.attempts, status=each.last_status)
        link = (f"{HOME}/webhooks/{each.endpoint_id}", "webhook")
        tone = {"delivered": "good", "dead": "bad"}.get(each.status, "bad" if each.last_error else "")
        at = each.finished_at or each.created_at
        yield Moment(at, "webhook", f"{each.event}: {each.status}", facts, each.last_error, tone, link)


def _end(job: Row) -> Iterator[Moment]:
    if job["finished_at"] is not None:
        tone = {"completed": "good", "failed": "bad"}.get(job["status"], "")
        error = _error(job["error_code"], job["error_message"])
        after = _facts(after=span((job["finished_at"] - job["created_at"]).total_seconds()))
        yield Moment(job["finished_at"], "end", job["status"].capitalize(), after, error, tone)


def _facts(**named: Any) -> Facts:
    return tuple((name.replace("_", " "), str(value)) for name, value in named.items() if value is not None)


def _error(code: str | None, message: str | None) -> str | None:
    return ": ".join(part for part in (code, message) if part) or None


def _usage(usage: Any) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in fields(usage).items()) or None


def _changed(before: Any, after: Any) -> str | None:
    """What is not as it was."""
    old, new = fields(before), fields(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name.replace('_', ' ')} {_said(old, name)} → {_said(new, name)}" for name in names) or None


def _said(state: Mapping[str, Any], name: str) -> str:
    value = state.get(name)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# What a job waits for, in sentences.


class Reason(NamedTuple):
    """``link``: where somebody can do something about it."""

    text: str
    link: str | None = None


def reasons(job: Mapping[str, Any], pauses: Iterable[Any], gates: Sequence[Any], pace: Pace | None) -> list[Reason]:
    """Why it is not being worked on, beside those before it; ``gates`` are all there are."""
    if job["status"] not in WAITING:
        return []
    return [
        *_of_time(job),
        *_of_pauses(pauses),
        *_of_gates(job["provider"], gates),
        *_of_workers(job["provider"], pace),
    ]


def _of_time(job: Mapping[str, Any]) -> Iterator[Reason]:
    if job["status"] == "pending":
        return
    seconds = (job["run_at"] - datetime.now(UTC)).total_seconds()
    when = f"in {span(seconds)}" if seconds > 0 else "at any moment"
    if job["status"] == "rate_limited":
        yield Reason(f"Its provider has had enough for now; its turn comes {when}.")
    elif job["attempt"] or job["crashes"]:
        yield Reason(f"Its last attempt went wrong; the next one comes {when}.")
    else:
        yield Reason(f"It was asked for later; its time comes {when}.")


def _of_pauses(pauses: Iterable[Any]) -> Iterator[Reason]:
    for pause in pauses:
        what = str(extent_of(pause.name))
        by = f", by {pause.by}" if pause.by else ""
        why = f": {pause.reason}" if pause.reason else "."
        yield Reason(f"Paused: {what}{by}{why}", f"{HOME}/control")


def _of_gates(provider: str, gates: Sequence[Any]) -> Iterator[Reason]:
    own = [gate for gate in gates if gate.provider == provider]
    if own and all(gate.state != "ok" for gate in own):
        for gate in own:
            because = f" ({gate.reason})" if gate.reason else ""
            text = f"{provider}: nothing is asked with the key {gate.key_label} for {span(gate.seconds)}{because}."
            yield Reason(text, f"{HOME}/providers")


def _of_workers(provider: str, pace: Pace | None) -> Iterator[Reason]:
    if pace is not None and pace.slots == 0:
        what = "jobs without a provider" if provider == NO_PROVIDER else provider
        yield Reason(f"No living worker serves {what}.", f"{HOME}/workers")


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
