"""Events of the audit trail for people: what has become of what, and where the thing itself is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from generation_worker.web.dashboard.links import HOME

PLACES = {
    "job": f"{HOME}/jobs/{{}}",
    "user": f"{HOME}/users/{{}}",
    "endpoint": f"{HOME}/webhooks/{{}}",
    "setting": f"{HOME}/control",
}
"""Where what an event is about is shown, by how its target begins."""


class Difference(NamedTuple):
    """One thing that an event has changed; None for what was not there before, or is not after."""

    name: str
    before: str | None
    after: str | None


class Event(NamedTuple):
    id: int
    at: Any
    actor: str
    action: str
    target: str
    link: str | None
    reason: str | None
    differences: list[Difference]


def event_of(event: Any) -> Event:
    """``event`` as ``Insights.audit_events`` has it."""
    return Event(
        event.id,
        event.at,
        event.actor,
        event.action,
        event.target,
        link_of(event.target),
        event.reason,
        differences(event.before, event.after),
    )


def link_of(target: str) -> str | None:
    """``user:ada`` and the like; None for what has no page."""
    head, _, name = target.partition(":")
    place = PLACES.get(head)
    return place.format(quote(name, safe="")) if place and name else None


def differences(before: Any, after: Any) -> list[Difference]:
    """Field by field where there are fields; what stayed the same is left out."""
    old, new = _fields(before), _fields(after)
    if old is None or new is None:
        return [Difference("", _text(before), _text(after))]
    return [
        Difference(name, _text(old.get(name)), _text(new.get(name)))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _fields(state: Any) -> Mapping[str, Any] | None:
    """None for what has no fields; nothing at all is without any."""
    return state or {} if state is None or isinstance(state, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False, default=str)
