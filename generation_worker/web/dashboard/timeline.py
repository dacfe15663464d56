"""What happened to a job, in the order of time: attempts, calls, money, people, webhooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from generation_worker.domain.spans import span
from generation_worker.web.dashboard.links import HOME, JOBS
from generation_worker.web.dashboard.untyped import fields

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
