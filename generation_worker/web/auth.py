"""Authenticates requests by API key, limits their rate, and checks the scope that a route declares.

A route names its scope in the argument that receives the caller; create_app refuses a route that declares none:

@router.post("/worker/pause")
def pause(caller: Annotated[Caller, needs("operate")]) -> …:
"""

import hmac
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from generation_worker.db import access
from generation_worker.db.query import Queries
from generation_worker.domain.token import LARGEST_JSON_KB, SCOPES, Scope, Token, allows, read_key
from generation_worker.web.problems import Problem, too_early
from generation_worker.web.requests import BoundedRequest

KIB = 1024

CACHE_SECONDS = 1.0
"""How long a key is cached, from before it is read: a revoked key is accepted by no process for longer than that."""
BURST = 10.0
"""Requests of this many seconds may come at once."""
MOST_CACHED = 10_000
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="generation-worker"'}
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip")
"""Headers of proxies: the proxy may run on this machine, but its clients do not."""
BEARER = HTTPBearer(auto_error=False, description="A key made by `generation-worker token create`.")

R = TypeVar("R", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. Only the key decides that, nothing else in the request."""

    name: str
    """For the audit trail, such as ``key:4fz01kq8x2ab``."""
    scopes: frozenset[Scope]
    user_id: str | None
    """The only user whose data they see and change; None: all users."""
    most_waiting: int
    """The most jobs that a user for whom they enqueue may have waiting."""
    most_json: int
    """The largest JSON body, in bytes."""
    most_upload: int | None = None
    """The largest file, in bytes; None: the limit of the route."""

    def may(self, scope: Scope) -> bool:
        return allows(self.scopes, scope)

    def acting_for(self, user_id: str | None) -> str | None:
        """The user whose data the request is about, if it names ``user_id``; None: all users.

        Raises Problem (404) for another user than the key is bound to.
        """
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise Problem(404, "user_not_found", "There is no such user.", field="user_id")
        return self.user_id


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of keys that have none of their own."""

    requests_per_minute: int
    most_waiting: int
    most_json: int
    """The largest JSON body, in bytes."""


@dataclass(slots=True)
class _CachedToken:
    token: Token
    until: float
    use_unrecorded: bool
    not_before: float = 0.0
    """When the key's next request may come, if one was refused."""


class Guard:
    """Authenticates requests and limits their rate. Safe to use from many threads at once.

    The rate is counted in the database, one row for each key: it holds for the fleet, however many processes a load
    balancer spreads the requests over. That is one small write into an unlogged table for each request, which waits for
    no disk. Counting in each process would multiply the limit by the number of processes. Drawing requests in portions
    would save writes, but refuse a client with few requests whose portions lie in other processes. A refused key is
    cached until its next request may come: further requests before that cost the database nothing.
    """

    def __init__(self, queries: Queries, limits: KeyLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._queries = queries
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: dict[str, _CachedToken] = {}
        self._has_tokens = False
        self._has_tokens_until = 0.0

    def admit(self, request: Request) -> Caller:
        """Who sends ``request``. Raises Problem (401, 403, 429) and StoreUnavailable."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if not scheme:
            return self._admit_without_key(request)
        cached = self._verify(text) if scheme.lower() == "bearer" else None
        if cached is None:
            raise Problem(
                401,
                "invalid_key",
                "The key is unknown, expired or revoked.",
                CHALLENGE,
                remedy="Send Authorization: Bearer gw_live_…; make a key with generation-worker token create.",
            )
        self._limit_rate(cached)
        self._note_use(cached)
        return self.caller_with(cached.token)

    def verify(self, text: str) -> Token | None:
        """The key ``text``, if it is valid. Raises StoreUnavailable."""
        cached = self._verify(text)
        if cached is None:
            return None
        self._note_use(cached)
        return cached.token

    def find_usable(self, token_id: str) -> Token | None:
        """The key with this id, if it is valid, for a session that was opened with it. Raises StoreUnavailable."""
        cached = self._find(token_id)
        if cached is None or not cached.token.usable:
            return None
        self._note_use(cached)
        return cached.token

    def caller_with(self, token: Token) -> Caller:
        """The caller with this key. The key's own limits take precedence over those of the settings."""
        own = None if token.max_body_kb is None else token.max_body_kb * KIB
        return Caller(
            f"key:{token.id}",
            frozenset(token.scopes),
            token.user_id,
            self._limits.most_waiting if token.most_waiting is None else token.most_waiting,
            self._limits.most_json if own is None else min(own, LARGEST_JSON_KB * KIB),
            own,
        )

    def caller_without_key(self, request: Request) -> Caller | None:
        """The caller on this machine, as long as no key was ever made; None: a key is required.

        Raises Problem (403) if there is no key and the request comes from elsewhere, and StoreUnavailable.
        """
        now = self._clock()
        if now >= self._has_tokens_until:
            self._has_tokens = access.has_tokens(self._queries)
            self._has_tokens_until = now + CACHE_SECONDS
        if self._has_tokens:
            return None
        if not is_local(request):
            raise Problem(
                403,
                "loopback_only",
                "No key is configured, so this API answers on loopback only.",
                remedy="Make a key: generation-worker token create NAME --scope enqueue --scope read",
            )
        return Caller("loopback", frozenset(SCOPES), None, self._limits.most_waiting, self._limits.most_json)

    def _admit_without_key(self, request: Request) -> Caller:
        caller = self.caller_without_key(request)
        if caller is None:
            raise Problem(
                401,
                "key_required",
                "This API requires a key.",
                CHALLENGE,
                remedy="Send Authorization: Bearer gw_live_…",
            )
        return caller

    def _verify(self, text: str) -> _CachedToken | None:
        presented = read_key(text.strip())
        cached = self._find(presented.id) if presented else None
        if (
            presented is None
            or cached is None
            or not hmac.compare_digest(cached.token.secret_hash, presented.secret_hash)
        ):
            return None
        return cached if cached.token.usable else None

    def _find(self, token_id: str) -> _CachedToken | None:
        now = self._clock()
        cached = self._cached.get(token_id)
        if cached is not None and now < cached.until:
            return cached
        token = access.find_token(self._queries, token_id)
        with self._lock:
            if token is None:
                self._cached.pop(token_id, None)
                return None
            if len(self._cached) >= MOST_CACHED:
                self._cached.clear()
            not_before = cached.not_before if cached else 0.0
            self._cached[token_id] = _CachedToken(token, now + CACHE_SECONDS, token.use_unrecorded, not_before)
            return self._cached[token_id]

    def _limit_rate(self, cached: _CachedToken) -> None:
        per_minute = cached.token.requests_per_minute or self._limits.requests_per_minute
        now = self._clock()
        wait = cached.not_before - now
        if wait <= 0:
            gap = 60 / per_minute
            wait = access.draw_request(self._queries, cached.token.id, gap=gap, ahead=max(0.0, BURST - gap))
            cached.not_before = now + wait
        if wait > 0:
            raise too_early(
                "too_many_requests",
                f"The key has used up its {per_minute} requests per minute.",
                status=429,
                seconds=wait,
                remedy="Wait as long as Retry-After says, or raise the key's limit.",
            )

    def _note_use(self, cached: _CachedToken) -> None:
        if cached.use_unrecorded:
            cached.use_unrecorded = False
            access.note_use(self._queries, cached.token.id)


def needs(scope: Scope, *, whole_fleet: bool = False) -> Any:
    """For the argument of a route that receives its Caller: only callers with ``scope`` are admitted.

    With ``whole_fleet`` a key that is bound to one user is refused, because the route is about all users.
    """
    return Security(Need(scope, whole_fleet).admit, scopes=[scope])


def open_to_all(route: R) -> R:
    """For a route that authenticates in another way, or answers with nothing that needs protection."""
    _OPEN.add(route)
    return route


_OPEN: set[Callable[..., Any]] = set()


class GuardedRoute(APIRoute):
    """Authenticates before it reads the body, and reads no more than the caller may send. For routes that take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            caller = await run_in_threadpool(_admit, request)
            bounded = BoundedRequest(request, caller.most_json)
            await bounded.body()
            return await handle(bounded)

        return guarded


@dataclass(frozen=True)
class Need:
    """What a route requires of its callers."""

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


def check_scopes(routes: Iterable[BaseRoute]) -> None:
    """Raises LookupError if one of ``routes`` declares no scope and is not open to all."""
    for route in routes:
        if isinstance(route, APIRoute):
            scope_of(route)


def scope_of(route: APIRoute) -> Scope | None:
    """The scope that the route declares; None if it is open to all. Raises LookupError if it declares neither."""
    found = next(_needs(route.dependant), None)
    if found is not None:
        return found.scope
    if route.endpoint in _OPEN:
        return None
    raise LookupError(f"{route.path} declares no scope: use needs(…) or open_to_all")


def is_local(request: Request) -> bool:
    """Whether a request comes from this machine, and from no web page of another site that is open in a browser on it.

    The peer address of the connection decides; headers can only speak against it. A page from elsewhere may make a
    browser on this machine send requests. It cannot make the browser send our name as Host (even if it rebinds its own
    name to 127.0.0.1), nor hide where the request comes from.
    """
    headers = request.headers
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and not any(name in headers for name in FORWARDED)
        and _names_loopback(headers.get("host", ""))
        and ("origin" not in headers or headers["origin"].partition("://")[2] == headers.get("host"))
        and (headers.get("sec-fetch-site", "none") in ("none", "same-origin") or _is_navigation(request))
    )


def _is_navigation(request: Request) -> bool:
    """The browser shows the response to its user only: the page with the link cannot read it."""
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


def _admit(request: Request) -> Caller:
    """Once for each request, because each call counts towards the rate."""
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
