"""The audit trail: who changed what, when, why, and from what to what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.audit_view import event_of
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fields import PRINTABLE
from generation_worker.web.fleet_questions import Ask

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
