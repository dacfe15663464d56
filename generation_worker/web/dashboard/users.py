"""Accounts: who has how much, and where to find whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fields import RequestModel
from generation_worker.web.fleet_questions import Ask

USERS = f"{HOME}/users"
ROWS = 50
NO_NUL = r"^[^\x00]*$"
THRESHOLD = "credits_low"


class UsersQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them. Raises StoreUnavailable."""

    def balances(self, *, beginning: str, after: str, limit: int) -> Sequence[Any]: ...

    def fleet_settings(self) -> Iterable[Any]: ...


class UserFilters(RequestModel):
    beginning: str = Field(default="", max_length=255, pattern=NO_NUL)
    """How the ids begin; the whole id finds its user first."""
    after: str = Field(default="", max_length=255, pattern=NO_NUL)


def users_router(ask: Ask[UsersQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(USERS)
    def users(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Caller, sees("read")],  # noqa: ARG001 - asked who they are
        filters: Annotated[UserFilters, Query()],
    ) -> Response:
        with ask() as questions:
            found = questions.balances(beginning=filters.beginning, after=filters.after, limit=ROWS + 1)
            low = threshold(questions.fleet_settings())
        accounts = found[:ROWS]
        next_after = accounts[-1].user_id if len(found) > ROWS else None
        return render(request, "users.html", accounts=accounts, low=low, filters=filters, next_after=next_after)

    return router


def threshold(settings: Iterable[Any]) -> int:
    """Credits below which a balance is low; 0: none is."""
    return next((int(setting.value) for setting in settings if setting.name == THRESHOLD), 0)
