"""Pages for what no route has answered: an address that is none, a method that is not taken, an unforeseen error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from generation_worker.ports import StoreUnavailable
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.pages import known, problem_page
from generation_worker.web.dashboard.visitor import SignInNeeded
from generation_worker.web.problems import Problem, answered_with

Handler = Callable[[Request, Any], Awaitable[Response]]


def answer_with_pages(app: FastAPI) -> None:
    """Have ``app`` answer so below our own address. Elsewhere it answers as before."""
    for kind in (HTTPException, Exception):
        before: Any = app.exception_handlers[kind]
        app.add_exception_handler(kind, _answering(before))


def _answering(before: Handler) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        path = request.url.path
        if path != HOME and not path.startswith(f"{HOME}/"):
            return await before(request, error)
        await run_in_threadpool(_look_who_it_is, request)
        return problem_page(request, answered_with(error))

    return handle


def _look_who_it_is(request: Request) -> None:
    """The page leads to our other pages if they may see them; nobody else has to sign in to be told this."""
    try:
        known(request)
    except (SignInNeeded, Problem, StoreUnavailable):
        return
