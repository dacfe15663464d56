"""Who looks at the dashboard: somebody who signed in with a key, or works on this machine while there is none.

The key is shown once. From then on a cookie is, that no script can read and no other site can have sent; what it holds
is worth nothing elsewhere, and nothing any more when the key is revoked or expires, or after half a day.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Protocol
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, FastAPI, Request, Response, Security
from fastapi import Form as FormBody
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from generation_worker.domain.token import Scope, Token
from generation_worker.ports import StoreUnavailable
from generation_worker.web.auth import BELIEVED_FOR, MOST_REMEMBERED, Caller, Guard, Need, open_to_all
from generation_worker.web.pages.render import HOME, SIGN_IN, SIGN_OUT, assets_router, path_of, render, way_back
from generation_worker.web.problems import Problem, answered_with, problem_of
from generation_worker.web.requests import PRINTABLE, RequestModel, read_body

LASTS = 12 * 3600.0
"""Seconds until one has to sign in again."""
ID_BYTES = 32


class Sessions(Protocol):
    """Where sessions are. Each method may raise StoreUnavailable."""

    def open_session(self, id_hash: bytes, token_id: str, *, lasts: float, by: str) -> None: ...

    def find_session(self, id_hash: bytes) -> str | None: ...

    def close_session(self, id_hash: bytes, *, by: str) -> None: ...


class SignInNeeded(Exception):
    """Nobody knows who this is."""


@dataclass(frozen=True, slots=True)
class Visitor:
    caller: Caller
    proof: str
    """What every form of theirs holds: another site that has a browser send one does not know it."""
    key_name: str | None
    """None: nobody signed in, as there is no key."""


class _Believed(NamedTuple):
    token_id: str
    until: float


class Door:
    """Lets visitors in. Safe to use from many threads at once."""

    def __init__(self, guard: Guard, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._sessions = sessions
        self._clock = clock
        self._believed: dict[bytes, _Believed] = {}
        self._proof_here = secrets.token_hex(16)

    def admit(self, request: Request) -> Visitor:
        """Raises SignInNeeded, Problem (403) and StoreUnavailable."""
        session = _shown(request)
        if session is not None and (token := self._token_of(session)) is not None:
            return _visitor(self._guard.caller_with(token), token, session)
        caller = self._guard.caller_without(request)
        if caller is None:
            raise SignInNeeded
        return Visitor(replace(caller, name=f"dashboard:{caller.name}"), self._proof_here, None)

    def sign_in(self, request: Request, response: Response, key: str) -> None:
        """Raises Problem (401, 403) and StoreUnavailable."""
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
        self.sign_out(request, response)  # whoever was signed in here is not any more
        session = secrets.token_bytes(ID_BYTES)
        self._sessions.open_session(_hash(session), token.id, lasts=LASTS, by=name_of(token.id))
        response.set_cookie(
            _cookie_name(request),
            session.hex(),
            max_age=int(LASTS),
            path="/",
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """Raises StoreUnavailable."""
        session = _shown(request)
        if session is None:
            return
        id_hash = _hash(session)
        token_id = self._sessions.find_session(id_hash)
        if token_id is not None:
            self._sessions.close_session(id_hash, by=name_of(token_id))
        self._believed.pop(id_hash, None)
        response.delete_cookie(_cookie_name(request), path="/", secure=_is_https(request), httponly=True)

    def _token_of(self, session: bytes) -> Token | None:
        id_hash, asked_at = _hash(session), self._clock()
        believed = self._believed.get(id_hash)
        if believed is None or asked_at >= believed.until:
            token_id = self._sessions.find_session(id_hash)
            if token_id is None:
                self._believed.pop(id_hash, None)
                return None
            if len(self._believed) >= MOST_REMEMBERED:
                self._believed.clear()
            believed = self._believed[id_hash] = _Believed(token_id, asked_at + BELIEVED_FOR)
        return self._guard.usable(believed.token_id)


def check_sent_from_here(request: Request) -> None:
    """Raises Problem (403) unless one of our own pages has the browser send this.

    Browsers say so themselves, by Fetch Metadata or at least by Origin, and no page can make them say otherwise.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:
        site = "same-origin" if origin.partition("://")[2] == request.headers.get("host") else "cross-site"
    if site != "same-origin":
        raise Problem(403, "not_from_here", "This was not sent from a page of the dashboard.", remedy=TRY_AGAIN)


def check_proof(visitor: Visitor, proof: str) -> None:
    """Raises Problem (403) unless what was sent holds the visitor's own proof."""
    if not hmac.compare_digest(proof.encode(), visitor.proof.encode()):
        raise Problem(403, "stale_page", "The page is of an earlier session.", remedy=TRY_AGAIN)


TRY_AGAIN = "Open the page again and repeat what you did."


def _visitor(caller: Caller, token: Token, session: bytes) -> Visitor:
    proof = hashlib.sha256(b"proof" + session).hexdigest()[:32]
    return Visitor(replace(caller, name=name_of(token.id)), proof, token.name)


def name_of(token_id: str) -> str:
    """For the record: whoever signed in with the key of this id."""
    return f"dashboard:{token_id}"


def _shown(request: Request) -> bytes | None:
    try:
        session = bytes.fromhex(request.cookies.get(_cookie_name(request), ""))
    except ValueError:
        return None
    return session if len(session) == ID_BYTES else None


def _cookie_name(request: Request) -> str:
    """Browsers take a name that begins so only from the very host, over HTTPS, and for all its paths."""
    return "__Host-generation-worker" if _is_https(request) else "generation-worker"


def _is_https(request: Request) -> bool:
    """As the browser sees it: what ends TLS before us says so, and of several the one that the browser talks to."""
    outermost = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, outermost)


def _hash(session: bytes) -> bytes:
    return hashlib.sha256(session).digest()


# A route that answers with a page: errors become pages, forms are believed only from our own pages.


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


# Sign in with a key, and sign out.


class Key(Form):
    key: str = Field(min_length=1, max_length=200)


def sign_in_router(door: Door) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(SIGN_IN)
    @open_to_all
    def sign_in_page(request: Request, back: str | None = None) -> Response:  # pyright: ignore[reportUnusedFunction]
        try:
            known(request)
        except SignInNeeded:
            return _page(request, back)
        return RedirectResponse(way_back(back), 303)

    @router.post(SIGN_IN)
    @open_to_all
    def sign_in(request: Request, form: Annotated[Key, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        answer = RedirectResponse(way_back(form.back), 303)
        try:
            door.sign_in(request, answer, form.key)
        except Problem as problem:
            return _page(request, form.back, problem)
        return answer

    @router.post(SIGN_OUT)
    @open_to_all
    def sign_out(request: Request, form: Annotated[Form, FormBody()]) -> Response:  # noqa: ARG001 # pyright: ignore[reportUnusedFunction]
        known(request)
        answer = RedirectResponse(SIGN_IN, 303)
        door.sign_out(request, answer)
        return answer

    return router


def _page(request: Request, back: str | None, problem: Problem | None = None) -> Response:
    shown: dict[str, Any] = {"back": way_back(back), "problem": problem and problem.details}
    return render(request, "sign_in.html", status=problem.details.status if problem else 200, **shown)


# The ways into the dashboard, and what every page of it needs.


FORMER = "/admin/queues"
"""Where people look for it who come from Bull Board."""


def entrance_routers(door: Door) -> Iterator[APIRouter]:
    """The application they are part of has ``door`` as its ``state.door``."""
    yield assets_router()
    yield sign_in_router(door)
    yield _ways_here()


def _ways_here() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get(FORMER)
    @open_to_all
    def to_dashboard() -> RedirectResponse:  # pyright: ignore[reportUnusedFunction]
        return RedirectResponse(HOME, 307)

    return router


# Pages for what no route has answered: an address that is none, a method that is not taken, an unforeseen error.


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
