"""What the app can be told of, and what follows from how an endpoint answers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

Event = Literal["job.completed", "job.failed", "job.cancelled", "batch.finished", "breaker.opened", "credits.low"]
EVENTS: tuple[Event, ...] = get_args(Event)
USUAL: tuple[Event, ...] = ("job.completed", "job.failed", "job.cancelled", "batch.finished")
"""What an endpoint is told of unless somebody chooses."""
OF_OPERATORS: frozenset[Event] = frozenset({"breaker.opened"})
"""Not for an endpoint of one user."""
TEST = "endpoint.test"

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""Seconds from one try to the next: ten tries within a day."""
LONGEST_FAILING = 3 * 86_400.0
"""Seconds of nothing but failures after which an endpoint is disabled."""
LONGEST_REST = 3600.0
"""Longest time for which an endpoint may ask to be left alone, in seconds."""
GONE = 410
BUSY = (429, 503)
REDIRECTS = (301, 302, 303, 307, 308)


class Reply(NamedTuple):
    """What came of one try: a status, or why there is none. ``retry_after`` is in seconds, as the endpoint says."""

    status: int | None
    problem: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is written of a delivery after one try, and of its endpoint."""

    status: Literal["delivered", "pending", "dead"]
    problem: str | None = None
    delay: float = 0.0
    """Seconds to the next try, if it stays pending."""
    rest: float | None = None
    """Seconds for which the endpoint is to be left alone altogether."""
    gone: bool = False
    """The endpoint wants nothing any more."""


def judge(reply: Reply, *, attempts: int, spread: float) -> Judgement:
    """What follows from the ``attempts``-th try. ``spread``, from 0 to 1, moves the next one by up to a tenth."""
    if reply.status is not None and 200 <= reply.status < 300:
        return Judgement("delivered")
    problem = reply.problem or _problem_of(reply.status)
    if reply.status == GONE:
        return Judgement("dead", problem, gone=True)
    rest = _rest(reply)
    if attempts > len(DELAYS):
        return Judgement("dead", problem, rest=rest)
    delay = DELAYS[attempts - 1] * (0.9 + 0.2 * spread)
    return Judgement("pending", problem, delay=max(delay, rest or 0.0), rest=rest)


def _rest(reply: Reply) -> float | None:
    if reply.status not in BUSY or reply.retry_after is None:
        return None
    return min(max(reply.retry_after, 0.0), LONGEST_REST)


def _problem_of(status: int | None) -> str:
    if status in REDIRECTS:
        return f"it answered with status {status}: redirects are not followed, so name the address that it leads to"
    return f"it answered with status {status}"


# A notice: a provider's word, by webhook, that a call may have ended. It is a hint to look, and never an answer.


REF = re.compile(r"[!-~]{1,200}")
"""An id that a provider gives a call: printable ASCII without spaces. It travels in a message, before a space."""
MESSAGE = re.compile(rf"call ({REF.pattern}) ([0-9a-f]{{16}})")


class Notice(NamedTuple):
    """``ref`` is the provider's id of the call; ``id`` tells this notice from others, however often it comes."""

    ref: str
    id: str

    @classmethod
    def of(cls, ref: str, delivery: str) -> Self:
        """The notice under ``delivery``, the name that the provider gave it, as long and strange as it may be.

        Raises ValueError if ``ref`` is no id of a call.
        """
        if REF.fullmatch(ref) is None:
            raise ValueError("no id of a call")
        return cls(ref, hashlib.sha256(delivery.encode()).hexdigest()[:16])

    @classmethod
    def read(cls, message: str) -> Self | None:
        """The notice in a message to the fleet; None if it holds none."""
        found = MESSAGE.fullmatch(message)
        return cls(*found.groups()) if found else None

    @property
    def message(self) -> str:
        """What the fleet is told. Workers that do not know such messages ignore them."""
        return f"call {self.ref} {self.id}"


class NoticeRefused(Exception):
    """What claims to be a notice is none; nothing follows from it. The message says why, without anything of it."""

    code = "invalid_body"


class SignatureInvalid(NoticeRefused):
    """It is not signed by the provider, or not now: anybody may have sent it."""

    code = "invalid_signature"


# Paths that others are told, so that telling them needs no web framework.


def webhook_path(provider: str) -> str:
    """Where the provider of this name sends its webhooks."""
    return f"/worker/providers/{provider}/webhook"


def webhook_address(base: str, provider: str) -> str:
    """The whole address, for a web server that the world knows as ``base``, or that is given whole already."""
    path = webhook_path(provider)
    return base if base.endswith(path) else base + path
