"""Pages of access: the audit trail, and API keys, which can be revoked here.

Keys are not made here, nor over the HTTP API. A key with the scope ``admin`` can sign in, from a browser or from a
program that behaves like one. If a session could make keys, then a leaked key, or a browser that was left open for a
minute, could make others that stay valid after it: revoking it would end nobody's access, and the audit trail would
show it only afterwards. Limiting new keys to the visitor's own scopes changes nothing about that. So making a key
requires what a key does not give: the database's address, on the command line. Revoking a key only ever ends access,
and must be possible at once from anywhere when a leak is found; so it can be done here, even for one's own key.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form as FormBody, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from generation_worker.db import access, audit_trail, query
from generation_worker.domain.token import ID_LENGTH
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.pages.render import HOME, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, name_of, sees

AUDIT = f"{HOME}/audit"
KEYS = f"{HOME}/keys"
ROWS = 50
CAP = 10_000
"""Events that one page reads: in a long trail, what a filter seldom matches is found page by page."""
TOKEN_ID = rf"^[0-9a-z]{{{ID_LENGTH}}}$"
TARGET_PAGES = {
    "job": f"{HOME}/jobs/{{}}",
    "user": f"{HOME}/users/{{}}",
    "endpoint": f"{HOME}/webhooks/{{}}",
    "setting": f"{HOME}/control",
}
"""The page of an event's target, by the target's prefix."""


def _none_if_empty(value: Any) -> Any:
    """A browser sends the empty fields of a form too."""
    return None if value == "" else value


Prefix = Annotated[
    Annotated[str, Field(max_length=300, pattern=requests.PRINTABLE)] | None, BeforeValidator(_none_if_empty)
]


class AuditFilters(BaseModel):
    """Actor, action and target are prefixes."""

    model_config = ConfigDict(extra="forbid")

    actor: Prefix = None
    action: Prefix = None
    target: Prefix = None
    since: Annotated[datetime | None, BeforeValidator(_none_if_empty)] = None
    before: int | None = Field(default=None, ge=1, le=query.LAST_EVENT)

    @property
    def since_utc(self) -> datetime | None:
        """Browsers send a time without a zone: it is UTC, as the form says."""
        return self.since and (self.since if self.since.tzinfo else self.since.replace(tzinfo=UTC))

    def page_before(self, event: int) -> str:
        """The address of the page with the events before this one."""
        filters = self.model_dump(mode="json", exclude_none=True, exclude={"before"})
        return f"{AUDIT}?{urlencode({**filters, 'before': event})}"


class KeyFilters(requests.RequestModel):
    gone: bool = False
    """Show revoked and expired keys too."""
    user_id: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""
    before: Annotated[str, Field(pattern=TOKEN_ID)] | None = None


class Difference(NamedTuple):
    """One value that an event changed; None where there was none before, or is none after."""

    name: str
    before: str | None
    after: str | None


class ShownEvent(NamedTuple):
    """An event with the link to its target and its changed values."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    link: str | None
    reason: str | None
    differences: list[Difference]


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(AUDIT)
def show_audit_trail(
    request: Request,
    _caller: Annotated[auth.Caller, sees("read")],
    filters: Annotated[AuditFilters, Query()],
    queries: app.Database,
) -> Response:
    with queries.read_only() as reader:
        events, before, scanned = _read_page(reader, filters)
    return render(
        request,
        "audit.html",
        filters=filters,
        events=[_shown(event) for event in events],
        older=None if before is None else filters.page_before(before),
        scanned=scanned,
    )


@router.get(KEYS)
def list_keys(
    request: Request,
    caller: Annotated[auth.Caller, sees("read")],
    filters: Annotated[KeyFilters, Query()],
    queries: app.Database,
) -> Response:
    with queries.read_only() as reader:
        found = access.list_tokens(
            reader, active=not filters.gone, user=filters.user_id or None, before=filters.before, limit=ROWS + 1
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
def revoke_key(
    caller: Annotated[auth.Caller, sees("admin")],
    token_id: Annotated[str, Path(pattern=TOKEN_ID)],
    form: Annotated[Form, FormBody()],
    queries: app.Database,
) -> Response:
    revoked = access.revoke_token(queries, token_id, by=audit_trail.Author(caller.name, form.reason))
    if revoked is None:
        raise problems.Problem(404, "token_not_found", "There is no such key.", remedy="Look for it among the keys.")
    return go_back(form.back, f"The key {revoked.name} is revoked.", otherwise=KEYS)


def link_to(target: str) -> str | None:
    """The page of ``user:ada`` and the like; None if there is none."""
    prefix, _, name = target.partition(":")
    page = TARGET_PAGES.get(prefix)
    return page.format(quote(name, safe="")) if page and name else None


def differences(before: Any, after: Any) -> list[Difference]:
    """What differs between two values: field by field if they have fields."""
    old, new = _fields(before), _fields(after)
    if old is None or new is None:
        return [Difference("", _text(before), _text(after))]
    return [
        Difference(name, _text(old.get(name)), _text(new.get(name)))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _read_page(
    queries: query.Queries, filters: AuditFilters
) -> tuple[list[audit_trail.AuditEvent], int | None, datetime | None]:
    """The events; before which event the next page continues; until when was read, if that is not the last event."""
    since = filters.since_utc
    events = audit_trail.list_events(
        queries,
        actor=filters.actor,
        action=filters.action,
        target=filters.target,
        since=since,
        before=filters.before,
        limit=ROWS,
        cap=CAP,
    )
    if len(events) == ROWS:
        return events, events[-1].id, None
    end = audit_trail.find_scan_end(queries, before=filters.before, cap=CAP)
    if end is None or not end.more or (since and end.at < since):
        return events, None, None
    return events, end.id, end.at


def _shown(event: audit_trail.AuditEvent) -> ShownEvent:
    return ShownEvent(
        event.id,
        event.at,
        event.actor,
        event.action,
        event.target,
        link_to(event.target),
        event.reason,
        differences(event.before, event.after),
    )


def _fields(state: Any) -> Mapping[str, Any] | None:
    """The fields of an object; no value at all has no fields; None for any other value."""
    return state or {} if state is None or isinstance(state, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False, default=str)
