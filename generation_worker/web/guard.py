"""Lets callers in by their keys, at the pace that each key has.

The pace is kept in the database, one row for each key: it holds for the fleet, however many processes a load balancer
spreads the requests over. That is one small write into an unlogged table for a request, which waits for no disk.
Counting in each process would let in as many times the limit as there are processes. Drawing requests in portions would
save writes, and turn away a quiet client whose portions lie in other processes. Whoever was turned away is remembered
here until then: to go on asking costs the database nothing.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from generation_worker.domain.token import Token, read_key
from generation_worker.web.caller import Caller, caller_on_loopback, caller_with
from generation_worker.web.loopback import is_local
from generation_worker.web.problems import Problem, too_early

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
    use_untold: bool
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
            self._known[token_id] = _Known(token, asked_at + BELIEVED_FOR, token.use_untold, not_before)
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
        if known.use_untold:
            known.use_untold = False
            self._tokens.note_use(known.token.id)
