"""Who looks at the dashboard: somebody who signed in with a key, or works on this machine while there is none.

The key is shown once. From then on a cookie is, that no script can read and no other site can have sent; what it holds
is worth nothing elsewhere, and nothing any more when the key is revoked or expires, or after half a day.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from fastapi import Request, Response

from generation_worker.domain.token import Token
from generation_worker.web.caller import Caller
from generation_worker.web.guard import BELIEVED_FOR, MOST_REMEMBERED, Guard
from generation_worker.web.problems import Problem

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
