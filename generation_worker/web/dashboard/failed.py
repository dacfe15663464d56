"""The dead letters: what failed for good, why, and another try of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.choices import Choosing
from generation_worker.web.dashboard.links import FAILED, MANY, address
from generation_worker.web.dashboard.look import SharedLook
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fields import PRINTABLE, UserId
from generation_worker.web.fleet_questions import Ask

ON_A_PAGE = 50
SECONDS = 2.0
"""For how long one look at the reasons serves everybody."""


class FailedQuestions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def failures_by_code(self) -> Sequence[Any]: ...

    def look_at_dead_letters(self, *, limit: int, cursor: str | None, code: str | None, user: str | None) -> Any: ...


class Chosen(Choosing):
    """Which of them are listed."""

    code: str | None = Field(default=None, max_length=255, pattern=PRINTABLE)
    user_id: UserId | None = None
    cursor: str | None = Field(default=None, max_length=200)


def failed_router(ask: Ask[FailedQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    reasons = SharedLook(partial(_reasons, ask), seconds=SECONDS)

    @router.get(FAILED)
    def list_failed(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], chosen: Annotated[Chosen, Query()]
    ) -> Response:
        with ask() as questions:
            page = questions.look_at_dead_letters(
                limit=ON_A_PAGE, cursor=chosen.cursor, code=chosen.code, user=chosen.user_id
            )
        more = page.cursor and address(FAILED, code=chosen.code, user_id=chosen.user_id, cursor=page.cursor)
        many = address(f"{MANY}/retry", status="failed", error_code=chosen.code, user_id=chosen.user_id)
        return render(
            request,
            "failed.html",
            reasons=reasons(),
            letters=page.letters,
            more=more,
            chosen=chosen,
            retry_many=many if caller.may("operate") else None,
            may_retry=caller.may("enqueue"),
        )

    return router


def _reasons(ask: Ask[FailedQuestions]) -> Sequence[Any]:
    with ask() as questions:
        return questions.failures_by_code()
