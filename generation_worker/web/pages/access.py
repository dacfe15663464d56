"""The audit trail: who changed what, when, why, and from what to what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from generation_worker.domain.token import ID_LENGTH
from generation_worker.web.api.fleet import Ask
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, name_of, sees
from generation_worker.web.problems import Problem
from generation_worker.web.requests import PRINTABLE, RequestModel

# Events of the audit trail for people: what has become of what, and where the thing itself is.


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


AUDIT = "/dashboard/audit"
ROWS = 50
REACH = 10_000
"""Events that one page looks at: what matches seldom in a long trail is found page by page."""
LAST = 2**63 - 1


class AuditQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them."""

    def audit_events(
        self,
        *,
        actor: str | None,
        action: str | None,
        target: str | None,
        since: datetime | None,
        before: int,
        limit: int,
        cap: int | None,
    ) -> Sequence[Any]: ...

    def audit_reach(self, *, before: int, cap: int) -> Any: ...


def _entered(value: Any) -> Any:
    """A field that nobody has filled in is sent all the same."""
    return None if value == "" else value


Begins = Annotated[Annotated[str, Field(max_length=300, pattern=PRINTABLE)] | None, BeforeValidator(_entered)]


class Filters(BaseModel):
    """Actor, action and target by how they begin."""

    model_config = ConfigDict(extra="forbid")

    actor: Begins = None
    action: Begins = None
    target: Begins = None
    since: Annotated[datetime | None, BeforeValidator(_entered)] = None
    before: int = Field(default=LAST, ge=1, le=LAST)

    @property
    def from_then_on(self) -> datetime | None:
        """Browsers send a moment without a zone: it is UTC, as the form says."""
        return self.since and (self.since if self.since.tzinfo else self.since.replace(tzinfo=UTC))

    def going_on(self, before: int) -> str:
        """The address of the page that begins there."""
        chosen = self.model_dump(mode="json", exclude_none=True, exclude={"before"})
        return f"{AUDIT}?{urlencode({**chosen, 'before': before})}"


def audit_router(ask: Ask[AuditQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(AUDIT)
    def audit(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Caller, sees("read")],  # noqa: ARG001 - asked who they are
        asked: Annotated[Filters, Query()],
    ) -> Response:
        events, before, reached = _page(ask, asked)
        return render(
            request,
            "audit.html",
            asked=asked,
            events=[event_of(event) for event in events],
            older=None if before is None else asked.going_on(before),
            reached=reached,
            is_first=asked.before == LAST,
        )

    return router


def _page(ask: Ask[AuditQuestions], asked: Filters) -> tuple[Sequence[Any], int | None, datetime | None]:
    """The events, before which to go on, and how far was looked if there is more to look at than these."""
    since = asked.from_then_on
    with ask() as questions:
        events = questions.audit_events(
            actor=asked.actor,
            action=asked.action,
            target=asked.target,
            since=since,
            before=asked.before,
            limit=ROWS,
            cap=REACH,
        )
        if len(events) == ROWS:
            return events, events[-1].id, None
        reach = questions.audit_reach(before=asked.before, cap=REACH)
    if reach is None or not reach.more or (since and reach.at < since):
        return events, None, None
    return events, reach.id, reach.at


# The keys of the HTTP API: who may do what, since when, and one button to take a key back.
#
# Keys are not made here, as they are not over HTTP. Whoever holds a key with the scope ``admin`` can sign in with it,
# from a browser or from a program that behaves like one. Were a session able to make keys, then a key that has leaked,
# or a browser left open for a minute, could leave doors behind that outlive it: to take back the key would shut nobody
# out any more, and the audit trail would only tell of it afterwards. To bind new keys to the visitor's own scopes
# changes nothing about that. So a new key needs what somebody with a key does not have: the database's address, on the
# command line. To take one back only ever closes a door, and whoever finds a leak must be able to do that at once,
# wherever they are; so that is here, for one's own key too.


KEYS = f"{HOME}/keys"
PUBLIC = rf"^[0-9a-z]{{{ID_LENGTH}}}$"
"""The part of a key that may be known."""


class KeyQuestions(Protocol):
    """Answers are tuples with names, as ``db.tokens`` has them. Raises StoreUnavailable."""

    def api_keys(self, *, active: bool, user: str | None, before: str | None, limit: int) -> Sequence[Any]: ...


class Keys(Protocol):
    def revoke(self, token_id: str, *, by: str, reason: str | None) -> Any:
        """The key as it is now; None if there is no such key. May raise StoreUnavailable."""
        ...


class KeyFilters(RequestModel):
    gone: bool = False
    """Show those too that were revoked or have expired."""
    user_id: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""
    before: Annotated[str, Field(pattern=PUBLIC)] | None = None


def keys_router(ask: Ask[KeyQuestions], keys: Keys) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(KEYS)
    def list_keys(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], filters: Annotated[KeyFilters, Query()]
    ) -> Response:
        with ask() as questions:
            found = questions.api_keys(
                active=not filters.gone, user=filters.user_id or None, before=filters.before, limit=ROWS + 1
            )
        page = found[:ROWS]
        return render(
            request,
            "keys.html",
            keys=page,
            filters=filters,
            next_before=page[-1].id if len(found) > ROWS else None,
            own=next((key.id for key in page if name_of(key.id) == caller.name), None),
            may_admin=caller.may("admin"),
        )

    @router.post(f"{KEYS}/{{token_id}}/revoke")
    def revoke_key(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, sees("admin")],
        token_id: Annotated[str, Path(pattern=PUBLIC)],
        form: Annotated[Form, FormBody()],
    ) -> Response:
        revoked = keys.revoke(token_id, by=caller.name, reason=form.reason)
        if revoked is None:
            raise Problem(404, "token_not_found", "There is no such key.", remedy="Look for it among the keys.")
        return go_back(form.back, f"The key {revoked.name} lets nobody in any more.", otherwise=KEYS)

    return router
