"""A route that answers with a page: errors become pages, forms are believed only from our own pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, Request, Response, Security
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from generation_worker.domain.token import Scope
from generation_worker.web.auth import Need
from generation_worker.web.body import read_body
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.links import SIGN_IN
from generation_worker.web.dashboard.render import path_of, render
from generation_worker.web.dashboard.visitor import Door, SignInNeeded, Visitor, check_proof, check_sent_from_here
from generation_worker.web.fields import PRINTABLE, RequestModel
from generation_worker.web.problems import Problem, problem_of

MOST_BYTES = 64 * 1024
MOST_FIELDS = 200
READ_WITHIN = 20.0
ASKS = ("GET", "HEAD")
FORM = "application/x-www-form-urlencoded"


def sees(scope: Scope) -> Any:
    """For an argument of a page's route, which is then its Caller: let in who may do this."""
    return Security(_Sees(scope, whole_fleet=True).visit, scopes=[scope])


class Form(RequestModel):
    """What a form of ours sends: its proof, where to go on, and why."""

    proof: str = Field(default="", max_length=100)
    back: str | None = Field(default=None, max_length=2000, pattern=PRINTABLE)
    reason: str | None = Field(default=None, min_length=1, max_length=2000, pattern=PRINTABLE)


class PageRoute(APIRoute):
    """For each route of the dashboard. One that takes POST is sent forms, and nothing else. GET brings HEAD with it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.methods and "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                if request.method == "POST":
                    request = await _believed(request)
                return await handle(request)
            except SignInNeeded:
                return _to_sign_in(request)
            except Exception as error:
                problem = problem_of(error)
                if problem is None:
                    raise
                return problem_page(request, problem)

        return answered


def problem_page(request: Request, problem: Problem) -> Response:
    """Says what is wrong and what to do about it."""
    answer = render(request, "problem.html", status=problem.details.status, problem=problem.details)
    answer.headers.update(problem.headers)
    return answer


def _no_visitor_yet(request: Request) -> Visitor | None:
    return getattr(request.state, "visitor", None)


def known(request: Request) -> Visitor:
    """Who visits: asked once for a request. Raises SignInNeeded, Problem and StoreUnavailable."""
    found = _no_visitor_yet(request)
    if found is None:
        door: Door = request.app.state.door
        found = request.state.visitor = door.admit(request)
    return found


class _Sees(Need):
    def visit(self, request: Request, _visitor: Annotated[Any, Depends(known)]) -> Caller:
        return self.met_by(known(request).caller)


class _Sent(Request):
    """A form that was read already."""

    def __init__(self, request: Request, body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        super().__init__(request.scope, receive)


async def _believed(request: Request) -> Request:
    """Raises Problem if another site, or no page at all, has had this sent."""
    check_sent_from_here(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(415, "unsupported_media_type", "A form was expected.", field="header.content-type")
    signing_in = request.url.path == SIGN_IN
    visitor = None if signing_in else await run_in_threadpool(known, request)
    body = await read_body(request, MOST_BYTES, within=READ_WITHIN, remedy="Shorten what you entered.")
    if visitor is not None:
        check_proof(visitor, _proof_in(body))
    return _Sent(request, body)


def _proof_in(body: bytes) -> str:
    """Raises Problem if there are more fields than a form of ours has."""
    try:
        sent = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Problem(400, "invalid_body", f"The form has more than {MOST_FIELDS} fields.", field="body") from None
    return sent.get("proof", [""])[0]


def _to_sign_in(request: Request) -> Response:
    """A browser sends no cookie of ours when a page of another site leads here; it does on the second way."""
    if request.method in ASKS and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return render(request, "arrive.html", path=_address(request))
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": _sign_in_address(request)})
    return RedirectResponse(_sign_in_address(request), 303)


def _sign_in_address(request: Request) -> str:
    return f"{SIGN_IN}?back={quote(_address(request), safe='')}" if request.method in ASKS else SIGN_IN


def _address(request: Request) -> str:
    query = request.url.query
    path = path_of(request)
    return f"{path}?{query}" if query else path
