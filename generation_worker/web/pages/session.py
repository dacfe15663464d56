"""Sessions of the dashboard: sign-in with an API key, the cookie, and how routes of pages authenticate and answer.

The key is sent once. From then on the browser sends a cookie that no script can read and that no other site can cause
it to send. The cookie ends when the key is revoked or expires, and after half a day. As long as no key was ever made,
the pages are open on this machine without a session.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, FastAPI, Form as FormBody, Request, Response, Security
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from generation_worker.db import access
from generation_worker.db.query import Queries
from generation_worker.domain.token import Scope, Token
from generation_worker.ports import StoreUnavailable
from generation_worker.web.app import part
from generation_worker.web.auth import CACHE_SECONDS, MOST_CACHED, Caller, Guard, Need, open_to_all
from generation_worker.web.pages.render import HOME, SIGN_IN, SIGN_OUT, path_of, render, way_back
from generation_worker.web.problems import Problem, answered_with, problem_of
from generation_worker.web.requests import PRINTABLE, RequestModel, read_body

SESSION_SECONDS = 12 * 3600.0
ID_BYTES = 32
MOST_BYTES = 64 * 1024
MOST_FIELDS = 200
READ_WITHIN = 20.0
"""Seconds in which a form must arrive."""
READING = ("GET", "HEAD")
FORM_TYPE = "application/x-www-form-urlencoded"
OPEN_AGAIN = "Open the page again and repeat what you did."
BULL_BOARD = "/admin/queues"
"""The address that people who know Bull Board try first."""


class SignInNeeded(Exception):
    """The request has no valid session, and needs one."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who opens a page."""

    caller: Caller
    proof: str
    """The CSRF token in every form: a site that makes the browser send a form does not know it."""
    key_name: str | None
    """None: nobody signed in, because there is no key."""


class SessionGuard:
    """Opens and closes sessions, and finds out who opens a page. Safe to use from many threads at once."""

    def __init__(self, guard: Guard, queries: Queries, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._queries = queries
        self._clock = clock
        self._cached: dict[bytes, _CachedSession] = {}
        self._proof_without_session = secrets.token_hex(16)

    def admit(self, request: Request) -> Visitor:
        """Raises SignInNeeded, Problem (403) and StoreUnavailable."""
        session = _session_in(request)
        if session is not None and (token := self._token_of(session)) is not None:
            caller = replace(self._guard.caller_with(token), name=name_of(token.id))
            return Visitor(caller, hashlib.sha256(b"proof" + session).hexdigest()[:32], token.name)
        caller = self._guard.caller_without_key(request)
        if caller is None:
            raise SignInNeeded
        return Visitor(replace(caller, name=f"dashboard:{caller.name}"), self._proof_without_session, None)

    def sign_in(self, request: Request, response: Response, key: str) -> None:
        """Open a session and set its cookie. Raises Problem (401, 403) and StoreUnavailable."""
        token = self._guard.verify(key)
        if token is None:
            raise Problem(
                401,
                "invalid_key",
                "The key is unknown, expired or revoked.",
                field="key",
                remedy="Make one: generation-worker token create NAME --scope read --scope operate",
            )
        if token.user_id is not None:
            raise Problem(
                403,
                "key_of_one_user",
                "The key is bound to one user; the dashboard shows all of them.",
                field="key",
                remedy="Use a key that was made without a user.",
            )
        self.sign_out(request, response)  # a session that was open in this browser ends
        session = secrets.token_bytes(ID_BYTES)
        access.open_session(self._queries, _hash(session), token.id, lasts=SESSION_SECONDS, by=name_of(token.id))
        response.set_cookie(
            _cookie_name(request),
            session.hex(),
            max_age=int(SESSION_SECONDS),
            path="/",
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """Close the session, if there is one, and delete its cookie. Raises StoreUnavailable."""
        session = _session_in(request)
        if session is None:
            return
        id_hash = _hash(session)
        token_id = access.find_session(self._queries, id_hash)
        if token_id is not None:
            access.close_session(self._queries, id_hash, by=name_of(token_id))
        self._cached.pop(id_hash, None)
        response.delete_cookie(_cookie_name(request), path="/", secure=_is_https(request), httponly=True)

    def _token_of(self, session: bytes) -> Token | None:
        id_hash, now = _hash(session), self._clock()
        cached = self._cached.get(id_hash)
        if cached is None or now >= cached.until:
            token_id = access.find_session(self._queries, id_hash)
            if token_id is None:
                self._cached.pop(id_hash, None)
                return None
            if len(self._cached) >= MOST_CACHED:
                self._cached.clear()
            cached = self._cached[id_hash] = _CachedSession(token_id, now + CACHE_SECONDS)
        return self._guard.find_usable(cached.token_id)


class _CachedSession(NamedTuple):
    token_id: str
    until: float


def name_of(token_id: str) -> str:
    """The name, in the audit trail, of a visitor who signed in with this key."""
    return f"dashboard:{token_id}"


def current_visitor(request: Request) -> Visitor:
    """Who sends the request; found out once for each. Raises SignInNeeded, Problem and StoreUnavailable."""
    found = getattr(request.state, "visitor", None)
    if found is None:
        sessions: SessionGuard = request.app.state.sessions
        found = request.state.visitor = sessions.admit(request)
    return found


def sees(scope: Scope) -> Any:
    """For the argument of a page's route that receives its Caller: only visitors with ``scope`` are admitted."""
    return Security(_VisitorNeed(scope, whole_fleet=True).visit, scopes=[scope])


class _VisitorNeed(Need):
    def visit(self, request: Request, _visitor: Annotated[Any, Depends(current_visitor)]) -> Caller:
        return self.met_by(current_visitor(request).caller)


class Form(RequestModel):
    """The fields of every form: the CSRF token, the page to go back to, and the reason for the audit trail."""

    proof: str = Field(default="", max_length=100)
    back: str | None = Field(default=None, max_length=2000, pattern=PRINTABLE)
    reason: str | None = Field(default=None, min_length=1, max_length=2000, pattern=PRINTABLE)


class PageRoute(APIRoute):
    """For routes of the dashboard: errors become pages, POST accepts only forms of our own pages, HEAD is like GET."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.methods and "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                if request.method == "POST":
                    request = await _checked_form(request)
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
    """The page that says what is wrong and what to do about it."""
    answer = render(request, "problem.html", status=problem.details.status, problem=problem.details)
    answer.headers.update(problem.headers)
    return answer


class SignInForm(Form):
    key: str = Field(min_length=1, max_length=200)


Sessions = Annotated[SessionGuard, part("sessions")]
router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(SIGN_IN)
@open_to_all
def show_sign_in(request: Request, back: str | None = None) -> Response:
    try:
        current_visitor(request)
    except SignInNeeded:
        return _sign_in_page(request, back)
    return RedirectResponse(way_back(back), 303)


@router.post(SIGN_IN)
@open_to_all
def sign_in(request: Request, form: Annotated[SignInForm, FormBody()], sessions: Sessions) -> Response:
    answer = RedirectResponse(way_back(form.back), 303)
    try:
        sessions.sign_in(request, answer, form.key)
    except Problem as problem:
        return _sign_in_page(request, form.back, problem)
    return answer


@router.post(SIGN_OUT)
@open_to_all
def sign_out(request: Request, _form: Annotated[Form, FormBody()], sessions: Sessions) -> Response:
    current_visitor(request)
    answer = RedirectResponse(SIGN_IN, 303)
    sessions.sign_out(request, answer)
    return answer


redirects = APIRouter(include_in_schema=False)
"""Other addresses that lead to the dashboard."""


@redirects.get("/")
@redirects.get(BULL_BOARD)
@open_to_all
def redirect_to_dashboard() -> RedirectResponse:
    return RedirectResponse(HOME, 307)


def answer_with_pages(app: FastAPI) -> None:
    """Have ``app`` answer errors under our address with pages, also where no route is. Elsewhere nothing changes."""
    for kind in (HTTPException, Exception):
        before: Any = app.exception_handlers[kind]
        app.add_exception_handler(kind, _answering(before))


Handler = Callable[[Request, Any], Awaitable[Response]]


def _answering(before: Handler) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        path = request.url.path
        if path != HOME and not path.startswith(f"{HOME}/"):
            return await before(request, error)
        await run_in_threadpool(_find_visitor, request)
        return problem_page(request, answered_with(error))

    return handle


def _find_visitor(request: Request) -> None:
    """A visitor who is known gets the links to our other pages; for a page of an error nobody has to sign in."""
    try:
        current_visitor(request)
    except (SignInNeeded, Problem, StoreUnavailable):
        return


async def _checked_form(request: Request) -> Request:
    """The request with its body read. Raises Problem if another site, or no page at all, caused it to be sent."""
    _check_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise Problem(415, "unsupported_media_type", "A form was expected.", field="header.content-type")
    signing_in = request.url.path == SIGN_IN
    visitor = None if signing_in else await run_in_threadpool(current_visitor, request)
    body = await read_body(request, MOST_BYTES, within=READ_WITHIN, remedy="Shorten what you entered.")
    if visitor is not None:
        _check_proof(visitor, _proof_in(body))
    return _ReadRequest(request, body)


class _ReadRequest(Request):
    """A request whose body was read already."""

    def __init__(self, request: Request, body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        super().__init__(request.scope, receive)


def _check_origin(request: Request) -> None:
    """Raises Problem (403) unless one of our own pages causes the browser to send this.

    Browsers state that by Fetch Metadata or at least by Origin, and no page can make them state anything else.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        site = "same-origin" if origin.partition("://")[2] == request.headers.get("host") else "cross-site"
    if site != "same-origin":
        raise Problem(403, "not_from_here", "This was not sent from a page of the dashboard.", remedy=OPEN_AGAIN)


def _check_proof(visitor: Visitor, proof: str) -> None:
    """Raises Problem (403) unless the form has the visitor's CSRF token."""
    if not hmac.compare_digest(proof.encode(), visitor.proof.encode()):
        raise Problem(403, "stale_page", "The page is of an earlier session.", remedy=OPEN_AGAIN)


def _proof_in(body: bytes) -> str:
    """Raises Problem if there are more fields than any form of ours has."""
    try:
        sent = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Problem(400, "invalid_body", f"The form has more than {MOST_FIELDS} fields.", field="body") from None
    return sent.get("proof", [""])[0]


def _to_sign_in(request: Request) -> Response:
    """After a link on another site a browser does not send our cookie; it does when our own page then reloads."""
    if request.method in READING and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return render(request, "arrive.html", path=_address(request))
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": _sign_in_address(request)})
    return RedirectResponse(_sign_in_address(request), 303)


def _sign_in_address(request: Request) -> str:
    return f"{SIGN_IN}?back={quote(_address(request), safe='')}" if request.method in READING else SIGN_IN


def _address(request: Request) -> str:
    query = request.url.query
    path = path_of(request)
    return f"{path}?{query}" if query else path


def _sign_in_page(request: Request, back: str | None, problem: Problem | None = None) -> Response:
    shown: dict[str, Any] = {"back": way_back(back), "problem": problem and problem.details}
    return render(request, "sign_in.html", status=problem.details.status if problem else 200, **shown)


def _session_in(request: Request) -> bytes | None:
    try:
        session = bytes.fromhex(request.cookies.get(_cookie_name(request), ""))
    except ValueError:
        return None
    return session if len(session) == ID_BYTES else None


def _cookie_name(request: Request) -> str:
    """Browsers accept the prefix ``__Host-`` only over HTTPS, and only for this very host and all its paths."""
    return "__Host-generation-worker" if _is_https(request) else "generation-worker"


def _is_https(request: Request) -> bool:
    """As the browser sees it: a proxy that ends TLS reports it, and of several the one next to the browser counts."""
    outermost = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, outermost)


def _hash(session: bytes) -> bytes:
    return hashlib.sha256(session).digest()
