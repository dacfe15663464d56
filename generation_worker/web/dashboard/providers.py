"""The providers and their keys: what is used of each limit, what keeps calls back, what came of them, what waits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Request, Response

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.look import SharedLook
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.provider_view import Provider, providers_of
from generation_worker.web.dashboard.render import has_just_acted, render
from generation_worker.web.fleet_questions import Ask
from generation_worker.web.pause_answers import KnownPause

PROVIDERS = "/dashboard/providers"
SECONDS = 1.5
SECONDS_OF_CALLS = 6.0
"""For how long one look at the calls of the last hour serves everybody: it reads more than the others."""
MOST = 1000
MOST_GATES = 100


class ProviderQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them."""

    def gates(self, *, limit: int) -> Sequence[Any]: ...

    def workers(self, *, limit: int) -> Sequence[Any]: ...

    def lanes(self) -> Sequence[Any]: ...

    def pauses(self) -> Sequence[KnownPause]: ...

    def fleet_settings(self) -> Sequence[Any]: ...

    def calls(self) -> Sequence[Any]: ...

    def duplicate_calls(self) -> Any: ...


class Calls(NamedTuple):
    hour: Sequence[Any]
    duplicates: Any


def providers_router(ask: Ask[ProviderQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    calls = SharedLook(partial(_calls, ask), seconds=SECONDS_OF_CALLS)
    look = SharedLook(lambda: _take(ask, calls().hour), seconds=SECONDS)

    @router.get(PROVIDERS)
    def providers(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # pyright: ignore[reportUnusedFunction]
        return render(
            request,
            "providers.html",
            providers=look(anew=has_just_acted(request)),
            duplicates=calls().duplicates,
            exact=all(each.exact for each in calls().hour),
            may_operate=caller.may("operate"),
            may_change=caller.may("admin"),
        )

    return router


def _calls(ask: Ask[ProviderQuestions]) -> Calls:
    with ask() as questions:
        return Calls(questions.calls(), questions.duplicate_calls())


def _take(ask: Ask[ProviderQuestions], calls: Sequence[Any]) -> list[Provider]:
    with ask() as questions:
        return providers_of(
            gates=questions.gates(limit=MOST_GATES),
            calls=calls,
            lanes=questions.lanes(),
            workers=questions.workers(limit=MOST),
            pauses=questions.pauses(),
            settings=questions.fleet_settings(),
        )
