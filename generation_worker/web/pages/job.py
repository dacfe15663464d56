"""The page of one job: its state, images and timeline, what it waits for, and the changes that can be made to it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Form as FormBody, Request, Response

from generation_worker.db import audit_trail, enqueue, fleet, jobs, webhooks
from generation_worker.db.jobs import JobRecord
from generation_worker.db.query import FAR, Queries, Row
from generation_worker.domain.estimate import LanePace, span
from generation_worker.domain.fleet import extent_of
from generation_worker.domain.job import FINAL, NO_PROVIDER, WAITING, trace_id_of
from generation_worker.domain.payload import ImageRef
from generation_worker.domain.token import Scope
from generation_worker.web.api.jobs import LanePaces, Paces, estimate
from generation_worker.web.app import Database
from generation_worker.web.auth import Caller
from generation_worker.web.pages.jobs import input_images, is_ours, prompt_in
from generation_worker.web.pages.render import HOME, JOBS, fields, go_back, items, render
from generation_worker.web.pages.session import Form, PageRoute, sees

MOST_ROWS = 100
SCOPES: dict[str, Scope] = {"cancel": "enqueue", "retry": "enqueue", "run_next": "operate", "release": "operate"}
"""The changes that the page offers, and the scope that each one needs."""

Facts = tuple[tuple[str, str], ...]


class TimelineEvent(NamedTuple):
    """``what`` is one of enqueued, attempt, call, money, person, webhook, end; ``tone`` is good, bad or empty."""

    at: datetime
    what: str
    text: str
    facts: Facts = ()
    error: str | None = None
    tone: str = ""
    link: tuple[str, str] | None = None
    """An address, and the text of the link."""


class WaitReason(NamedTuple):
    """Why a job waits. ``link``: the page where this can be changed."""

    text: str
    link: str | None = None


class InputImage(NamedTuple):
    """An input image of the job; ``shown``: this program stored it, so the page shows it."""

    name: str
    shown: bool


class OutputImage(NamedTuple):
    """An image of the result; ``description``: its size and type, as far as they are known."""

    key: str
    description: str


class JobView(NamedTuple):
    """Everything that the page shows."""

    job: Row
    prompt: str | None
    inputs: list[InputImage]
    images: list[OutputImage]
    model: str | None
    events: list[TimelineEvent]
    reasons: list[WaitReason]
    queue_position: int | None
    eta: float | None
    trace_id: str


Enqueuer = Annotated[Caller, sees("enqueue")]
Operator = Annotated[Caller, sees("operate")]
SentForm = Annotated[Form, FormBody()]

router = APIRouter(prefix=f"{JOBS}/{{job_id}}", include_in_schema=False, route_class=PageRoute)


@router.get("")
def show_job(
    request: Request, caller: Annotated[Caller, sees("read")], job_id: UUID, queries: Database, paces: Paces
) -> Response:
    view = _view(queries, paces, job_id)
    may = {name: caller.may(scope) and _applicable(name, view.job) for name, scope in SCOPES.items()}
    return render(request, "job.html", view=view, job=view.job, may=may, farthest=FAR)


@router.post("/cancel")
def cancel_job(caller: Enqueuer, job_id: UUID, form: SentForm, queries: Database) -> Response:
    status = jobs.cancel_for_user(queries, job_id, None, by=audit_trail.Author(caller.name, form.reason))
    flash = "The job is cancelled." if status == "cancelled" else "It was asked to stop; it may still complete first."
    return go_back(form.back, flash, otherwise=_path(job_id))


@router.post("/retry")
def retry_job(caller: Enqueuer, job_id: UUID, form: SentForm, queries: Database) -> Response:
    by = audit_trail.Author(caller.name, form.reason)
    new = jobs.replay_for_user(queries, job_id, None, most_waiting=caller.most_waiting, by=by)
    flash = f"It was replayed before, as {new.id}." if new.duplicate else f"Enqueued again, as {new.id}."
    return go_back(form.back, flash, otherwise=_path(new.id))


@router.post("/run-next")
def run_job_next(caller: Operator, job_id: UUID, form: SentForm, queries: Database) -> Response:
    jobs.run_next(queries, job_id, by=audit_trail.Author(caller.name, form.reason))
    paused = " It is still paused." if fleet.pauses_of_job(queries, job_id) else ""
    return go_back(form.back, f"The job is at the front of its lane.{paused}", otherwise=_path(job_id))


@router.post("/release")
def release_job(caller: Operator, job_id: UUID, form: SentForm, queries: Database) -> Response:
    worker = jobs.release_job(queries, job_id, by=audit_trail.Author(caller.name, form.reason)).held_by
    flash = (
        "The job is due now." if worker is None else f"The job is taken from {worker}; another worker takes it over."
    )
    return go_back(form.back, flash, otherwise=_path(job_id))


def timeline(
    record: JobRecord, changes: Iterable[audit_trail.AuditEvent], deliveries: Iterable[webhooks.SentMessage]
) -> list[TimelineEvent]:
    """The events of a job in the order of time: attempts, calls, credits, changes, webhooks. Simultaneous events keep
    the order in which they are listed here.
    """
    events = [
        *_beginning(record.job),
        *_of_entries(record.entries),
        *_of_attempts(record.job, record.attempts),
        *_of_calls(record.calls),
        *_of_changes(changes),
        *_end(record.job),
        *_of_deliveries(deliveries),
    ]
    return sorted(events, key=lambda event: event.at)


def _beginning(job: Row) -> Iterator[TimelineEvent]:
    facts = _facts(
        priority=job["priority"] or None,
        idempotency_key=job["idempotency_key"],
        number_in_batch=job["batch_index"] + 1 if job["batch_id"] else None,
    )
    link = (f"{JOBS}/{job['retry_of']}", "in place of an earlier job") if job["retry_of"] else None
    yield TimelineEvent(job["created_at"], "enqueued", "Enqueued", facts, link=link)
    if job["cancel_requested_at"] is not None:
        yield TimelineEvent(job["cancel_requested_at"], "person", "Asked to stop")


def _of_attempts(job: Row, attempts: Iterable[Row]) -> Iterator[TimelineEvent]:
    for each in attempts:
        begun = _facts(worker=each["worker"])
        yield TimelineEvent(each["started_at"], "attempt", f"Attempt {each['attempt']} began", begun)
        yield TimelineEvent(
            min(each["ended_at"], job["finished_at"] or each["ended_at"]),  # both are set by one settlement
            "attempt",
            f"Attempt {each['attempt']} ended: {each['outcome'].replace('_', ' ')}",
            _facts(after=span(each["seconds"])),
            _error(each["error_code"], each["error_message"]),
            {"completed": "good", "released": "", "cancelled": "", "rate_limited": ""}.get(each["outcome"], "bad"),
        )
    if job["locked_at"] is not None:
        yield TimelineEvent(
            job["locked_at"], "attempt", f"Attempt {job['attempt']} began", _facts(worker=job["locked_by"])
        )


def _of_calls(calls: Iterable[Row]) -> Iterator[TimelineEvent]:
    for call in calls:
        facts = _facts(
            model=call["model"],
            key=call["key_label"],
            id=call["provider_ref"],
            took=None if call["milliseconds"] is None else f"{call['milliseconds']:,} ms",
            paid={True: "yes", False: "no"}.get(call["spent"], "unknown"),
            usage=_usage(call["usage"]),
        )
        text = f"Call {call['number']} to {call['provider']}"
        tone = "bad" if call["error_code"] else ""
        if call["finished_at"] is None:
            text += ", still running, or its answer was lost"
        yield TimelineEvent(call["started_at"], "call", text, facts, call["error_code"], tone)


def _of_entries(entries: Iterable[Row]) -> Iterator[TimelineEvent]:
    for entry in entries:
        text = f"{entry['kind'].capitalize()} of {abs(entry['amount']):,}"
        facts = _facts(
            account=entry["user_id"], balance=f"{entry['balance_after']:,}", entry=entry["seq"], reason=entry["reason"]
        )
        yield TimelineEvent(entry["created_at"], "money", text, facts)


def _of_changes(changes: Iterable[audit_trail.AuditEvent]) -> Iterator[TimelineEvent]:
    for change in changes:
        facts = _facts(by=change.actor, why=change.reason, change=_changed(change.before, change.after))
        yield TimelineEvent(change.at, "person", change.action, facts)


def _of_deliveries(deliveries: Iterable[webhooks.SentMessage]) -> Iterator[TimelineEvent]:
    for each in deliveries:
        facts = _facts(tries=each.attempts, status=each.last_status)
        link = (f"{HOME}/webhooks/{each.endpoint_id}", "webhook")
        tone = {"delivered": "good", "dead": "bad"}.get(each.status, "bad" if each.last_error else "")
        at = each.finished_at or each.created_at
        yield TimelineEvent(at, "webhook", f"{each.event}: {each.status}", facts, each.last_error, tone, link)


def _end(job: Row) -> Iterator[TimelineEvent]:
    if job["finished_at"] is not None:
        tone = {"completed": "good", "failed": "bad"}.get(job["status"], "")
        error = _error(job["error_code"], job["error_message"])
        after = _facts(after=span((job["finished_at"] - job["created_at"]).total_seconds()))
        yield TimelineEvent(job["finished_at"], "end", job["status"].capitalize(), after, error, tone)


def _facts(**named: Any) -> Facts:
    return tuple((name.replace("_", " "), str(value)) for name, value in named.items() if value is not None)


def _error(code: str | None, message: str | None) -> str | None:
    return ": ".join(part for part in (code, message) if part) or None


def _usage(usage: Any) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in fields(usage).items()) or None


def _changed(before: Any, after: Any) -> str | None:
    """The values that differ."""
    old, new = fields(before), fields(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return (
        ", ".join(f"{name.replace('_', ' ')} {_as_text(old, name)} → {_as_text(new, name)}" for name in names) or None
    )


def _as_text(state: Mapping[str, Any], name: str) -> str:
    value = state.get(name)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def wait_reasons(
    job: Row, pauses: Iterable[fleet.Pause], gates: Sequence[fleet.Gate], pace: LanePace | None
) -> list[WaitReason]:
    """Why a job does not run, apart from the jobs before it. ``gates`` are those of all providers."""
    if job["status"] not in WAITING:
        return []
    return [
        *_of_time(job),
        *_of_pauses(pauses),
        *_of_gates(job["provider"], gates),
        *_of_workers(job["provider"], pace),
    ]


def _of_time(job: Row) -> Iterator[WaitReason]:
    if job["status"] == "pending":
        return
    seconds = (job["run_at"] - datetime.now(UTC)).total_seconds()
    when = f"in {span(seconds)}" if seconds > 0 else "at any moment"
    if job["status"] == "rate_limited":
        yield WaitReason(f"Its provider accepts no calls just now; the next attempt is {when}.")
    elif job["attempt"] or job["crashes"]:
        yield WaitReason(f"Its last attempt failed; the next one is {when}.")
    else:
        yield WaitReason(f"It was enqueued for later; it is due {when}.")


def _of_pauses(pauses: Iterable[fleet.Pause]) -> Iterator[WaitReason]:
    for pause in pauses:
        what = str(extent_of(pause.name))
        by = f", by {pause.by}" if pause.by else ""
        why = f": {pause.reason}" if pause.reason else "."
        yield WaitReason(f"Paused: {what}{by}{why}", f"{HOME}/control")


def _of_gates(provider: str, gates: Sequence[fleet.Gate]) -> Iterator[WaitReason]:
    own = [gate for gate in gates if gate.provider == provider]
    if own and all(gate.state != "ok" for gate in own):
        for gate in own:
            because = f" ({gate.reason})" if gate.reason else ""
            text = f"{provider}: no calls with the key {gate.key_label} for {span(gate.seconds)}{because}."
            yield WaitReason(text, f"{HOME}/providers")


def _of_workers(provider: str, pace: LanePace | None) -> Iterator[WaitReason]:
    if pace is not None and pace.slots == 0:
        what = "jobs without a provider" if provider == NO_PROVIDER else provider
        yield WaitReason(f"No living worker serves {what}.", f"{HOME}/workers")


def _view(queries: Queries, paces: LanePaces, job_id: UUID) -> JobView:
    """Raises JobNotFound."""
    with queries.read_only() as reader:
        record = jobs.find_job_record(reader, job_id)
        if record is None:
            raise enqueue.job_not_found(job_id)
        job = record.job
        waits = job["status"] in WAITING
        pauses = fleet.pauses_of_job(reader, job_id) if waits else ()
        gates = fleet.list_gates(reader, limit=MOST_ROWS) if waits else ()
        changes = jobs.list_job_changes(reader, job_id, limit=MOST_ROWS)
        deliveries = webhooks.list_deliveries(reader, job=job_id, limit=MOST_ROWS)
    position, eta = estimate(queries, paces, job)  # on another connection: no request waits while it holds one
    result = fields(job["result"])
    return JobView(
        job=job,
        prompt=prompt_in(job["payload"]),
        inputs=[_input(image) for image in input_images(job["kind"], job["payload"])],
        images=[_output(fields(image)) for image in items(result.get("images"))],
        model=result.get("model"),
        events=timeline(record, changes, deliveries),
        reasons=wait_reasons(job, pauses, gates, paces.of(queries, job["provider"]) if waits else None),
        queue_position=position,
        eta=eta,
        trace_id=trace_id_of(str(job_id), job["traceparent"]),
    )


def _applicable(change: str, job: Row) -> bool:
    """Whether the page offers the change. The database decides whether it is made."""
    match change:
        case "cancel":
            return job["status"] not in FINAL and job["cancel_requested_at"] is None
        case "retry":
            return job["status"] in ("failed", "cancelled") and job["replayed_as"] is None
        case "run_next":
            return job["status"] in WAITING
        case _:
            return job["status"] in ("scheduled", "rate_limited", "processing")


def _input(image: ImageRef) -> InputImage:
    return InputImage(image.key or image.url or "", bool(image.key and is_ours(image.key)))


def _output(image: dict[str, Any]) -> OutputImage:
    """An image as the row holds it; only its key is certain."""
    size = f"{image['width']} × {image['height']}" if image.get("width") and image.get("height") else None
    weight = f"{image['bytes'] / 1000:,.1f} kB" if isinstance(image.get("bytes"), int) else None
    return OutputImage(str(image.get("key", "")), " · ".join(filter(None, (size, image.get("content_type"), weight))))


def _path(job_id: UUID) -> str:
    return f"{JOBS}/{job_id}"
