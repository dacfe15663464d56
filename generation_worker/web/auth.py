"""Which scope a route asks for. A route that does not say is refused when the application is made.

@router.post("/worker/pause")
def pause(caller: Annotated[Caller, needs("operate")]) -> …:
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from generation_worker.domain.token import LARGEST_JSON_KB, SCOPES, Scope, Token, allows, read_key
from generation_worker.web.problems import Problem, too_early
from generation_worker.web.requests import BoundedRequest

# Who calls, and what they may see.


KIB = 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever is behind a request. Only their key says who they are, nothing that they send beside it."""

    name: str
    """For the record, such as ``key:4fz01kq8x2ab``."""
    scopes: frozenset[Scope]
    user_id: str | None
    """The only user that they see and act for; None: every user."""
    most_waiting: int
    """Jobs that a user for whom they enqueue may have waiting."""
    most_json: int
    """Bytes that JSON from them may have."""
    most_upload: int | None = None
    """Bytes that a file from them may have; None: as many as the route takes."""

    def may(self, scope: Scope) -> bool:
        return allows(self.scopes, scope)

    def acting_for(self, user_id: str | None) -> str | None:
        """The user meant by ``user_id``, as a request names one or not; None: none in particular.

        Raises Problem (404) if that is one whom they may not know of.
        """
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise Problem(404, "user_not_found", "There is no such user.", field="user_id")
        return self.user_id


def caller_with(token: Token, *, most_waiting: int, most_json: int) -> Caller:
    """What the key says itself goes before what holds for those that say nothing."""
    own = None if token.max_body_kb is None else token.max_body_kb * KIB
    return Caller(
        f"key:{token.id}",
        frozenset(token.scopes),
        token.user_id,
        most_waiting if token.most_waiting is None else token.most_waiting,
        most_json if own is None else min(own, LARGEST_JSON_KB * KIB),
        own,
    )


def caller_on_loopback(*, most_waiting: int, most_json: int) -> Caller:
    """Whoever works on this machine, as long as there is no key."""
    return Caller("loopback", frozenset(SCOPES), None, most_waiting, most_json)


# Whether a request comes from this machine, and from no web page that somebody on it has opened.


FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip")
"""Signs of a proxy: it sits on this machine perhaps, whoever is behind it does not."""


def is_local(request: Request) -> bool:
    """By the peer address of the connection. Headers can only speak against it.

    A page from elsewhere may make a browser on this machine send requests. It cannot give them our name as Host (with
    its own name bound anew to 127.0.0.1), nor hide where it comes from.
    """
    headers = request.headers
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and not any(name in headers for name in FORWARDED)
        and _names_loopback(headers.get("host", ""))
        and ("origin" not in headers or headers["origin"].partition("://")[2] == headers.get("host"))
        and (headers.get("sec-fetch-site", "none") in ("none", "same-origin") or _follows_a_link(request))
    )


def _follows_a_link(request: Request) -> bool:
    """The browser shows the answer to its user, and to nobody else: who made the link cannot read it."""
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


# Lets callers in by their keys, at the pace that each key has.
#
# The pace is kept in the database, one row for each key: it holds for the fleet, however many processes a load
# balancer spreads the requests over. That is one small write into an unlogged table for a request, which waits for
# no disk. Counting in each process would let in as many times the limit as there are processes. Drawing requests in
# portions would save writes, and turn away a quiet client whose portions lie in other processes. Whoever was turned
# away is remembered here until then: to go on asking costs the database nothing.


BELIEVED_FOR = 1.0
"""Seconds, from before the database was asked: within this time a revoked key lets nobody in any more."""
BURST = 10.0
"""Seconds' worth of requests that may come at once."""
MOST_REMEMBERED = 10_000
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="generation-worker"'}


class Tokens(Protocol):
    """Where keys are kept. Each method may raise StoreUnavailable."""

    def find_token(self, token_id: str) -> Token | None: ...

    def has_tokens(self) -> bool: ...

    def note_use(self, token_id: str) -> None: ...

    def draw_request(self, token_id: str, *, gap: float, ahead: float) -> float: ...


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do if it does not say otherwise."""

    requests_per_minute: int
    most_waiting: int
    most_json: int
    """Bytes of a body that is JSON."""


@dataclass(slots=True)
class _Known:
    token: Token
    until: float
    use_unrecorded: bool
    not_before: float = 0.0
    """When the key's next request may come, if one was turned away."""


class Guard:
    """Safe to use from many threads at once."""

    def __init__(self, tokens: Tokens, limits: KeyLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._has_tokens = False
        self._has_tokens_until = 0.0

    def admit(self, request: Request) -> Caller:
        """Whoever sends ``request``. Raises Problem (401, 403, 429) and StoreUnavailable."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return self._admit_without(request)
        known = self._verify(text) if scheme.lower() == "bearer" else None
        if known is None:
            raise Problem(
                401,
                "invalid_key",
                "The key is unknown, expired or revoked.",
                CHALLENGE,
                remedy="Send Authorization: Bearer gw_live_…; make a key with generation-worker token create.",
            )
        self._keep_pace(known)
        self._note_use(known)
        return self.caller_with(known.token)

    def verify(self, text: str) -> Token | None:
        """The key that ``text`` is, if it may be used. Raises StoreUnavailable."""
        known = self._verify(text)
        if known is None:
            return None
        self._note_use(known)
        return known.token

    def usable(self, token_id: str) -> Token | None:
        """The key of this id, for somebody who has shown it before. Raises StoreUnavailable."""
        known = self._find(token_id)
        if known is None or not known.token.usable:
            return None
        self._note_use(known)
        return known.token

    def caller_with(self, token: Token) -> Caller:
        limits = self._limits
        return caller_with(token, most_waiting=limits.most_waiting, most_json=limits.most_json)

    def caller_without(self, request: Request) -> Caller | None:
        """Without any key in the database, whoever works on this machine; None: a key is needed.

        Raises Problem (403) if there is no key and they are elsewhere, and StoreUnavailable.
        """
        asked_at = self._clock()
        if asked_at >= self._has_tokens_until:
            self._has_tokens = self._tokens.has_tokens()
            self._has_tokens_until = asked_at + BELIEVED_FOR
        if self._has_tokens:
            return None
        if not is_local(request):
            raise Problem(
                403,
                "loopback_only",
                "No key is configured, so this API answers on loopback only.",
                remedy="Make a key: generation-worker token create NAME --scope enqueue --scope read",
            )
        return caller_on_loopback(most_waiting=self._limits.most_waiting, most_json=self._limits.most_json)

    def _admit_without(self, request: Request) -> Caller:
        caller = self.caller_without(request)
        if caller is None:
            raise Problem(
                401,
                "key_required",
                "This API asks for a key.",
                CHALLENGE,
                remedy="Send Authorization: Bearer gw_live_…",
            )
        return caller

    def _verify(self, text: str) -> _Known | None:
        presented = read_key(text.strip())
        known = self._find(presented.id) if presented else None
        if (
            presented is None
            or known is None
            or not hmac.compare_digest(known.token.secret_hash, presented.secret_hash)
        ):
            return None
        return known if known.token.usable else None

    def _find(self, token_id: str) -> _Known | None:
        asked_at = self._clock()
        known = self._known.get(token_id)
        if known is not None and asked_at < known.until:
            return known
        token = self._tokens.find_token(token_id)
        with self._lock:
            if token is None:
                self._known.pop(token_id, None)
                return None
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            not_before = known.not_before if known else 0.0
            self._known[token_id] = _Known(token, asked_at + BELIEVED_FOR, token.use_unrecorded, not_before)
            return self._known[token_id]

    def _keep_pace(self, known: _Known) -> None:
        per_minute = known.token.requests_per_minute or self._limits.requests_per_minute
        now = self._clock()
        wait = known.not_before - now
        if wait <= 0:
            gap = 60 / per_minute
            wait = self._tokens.draw_request(known.token.id, gap=gap, ahead=max(0.0, BURST - gap))
            known.not_before = now + wait
        if wait > 0:
            raise too_early(
                "too_many_requests",
                f"The key has used up its {per_minute} requests per minute.",
                status=429,
                seconds=wait,
                remedy="Wait as long as Retry-After says, or raise the key's limit.",
            )

    def _note_use(self, known: _Known) -> None:
        if known.use_unrecorded:
            known.use_unrecorded = False
            self._tokens.note_use(known.token.id)


BEARER = HTTPBearer(auto_error=False, description="A key made by `generation-worker token create`.")
R = TypeVar("R", bound=Callable[..., Any])


def needs(scope: Scope, *, whole_fleet: bool = False) -> Any:
    """For an argument of a route, which is then its Caller: let in who may do this.

    ``whole_fleet``: what the route tells is about everybody, so a key that is bound to one user is refused.
    """
    return Security(Need(scope, whole_fleet).admit, scopes=[scope])


def open_to_all(route: R) -> R:
    """For a route that has its own way to know who calls, or tells nothing that matters."""
    _OPEN.add(route)
    return route


class GuardedRoute(APIRoute):
    """Knows who calls before it reads what they send, and reads no more than they may. For routes that take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            caller = await run_in_threadpool(_admit, request)
            bounded = BoundedRequest(request, caller.most_json)
            await bounded.body()
            return await handle(bounded)

        return guarded


def scope_of(route: APIRoute) -> Scope | None:
    """What the route asks for; None if it is open to all. Raises LookupError if it does not say."""
    found = next(_needs(route.dependant), None)
    if found is not None:
        return found.scope
    if route.endpoint in _OPEN:
        return None
    raise LookupError(f"{route.path} declares no scope: use needs(…) or open_to_all")


def check_scopes(routes: Iterable[BaseRoute]) -> None:
    """Raises LookupError if one of ``routes`` does not say who may call it."""
    for route in routes:
        if isinstance(route, APIRoute):
            scope_of(route)


@dataclass(frozen=True)
class Need:
    """What a route asks of whoever calls."""

    scope: Scope
    whole_fleet: bool

    def admit(self, request: Request, _key: Annotated[Any, Depends(BEARER)]) -> Caller:
        return self.met_by(_admit(request))

    def met_by(self, caller: Caller) -> Caller:
        """Raises Problem (403)."""
        if not caller.may(self.scope):
            raise Problem(
                403, "missing_scope", f"The key does not have the scope {self.scope}.", remedy="Use another key."
            )
        if self.whole_fleet and caller.user_id is not None:
            raise Problem(403, "key_of_one_user", "The key is bound to one user; this is about all of them.")
        return caller


def _admit(request: Request) -> Caller:
    """Asked once for a request: each time counts."""
    if not hasattr(request.state, "caller"):
        guard: Guard = request.app.state.guard
        request.state.caller = guard.admit(request)
    return request.state.caller


def _needs(dependant: Dependant) -> Iterator[Need]:
    need = getattr(dependant.call, "__self__", None)
    if isinstance(need, Need):
        yield need
    for part in dependant.dependencies:
        yield from _needs(part)


_OPEN: set[Callable[..., Any]] = set()
