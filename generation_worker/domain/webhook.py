"""Webhooks: the events, what follows from an endpoint's response, and notices that providers send to us."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

Event = Literal["job.completed", "job.failed", "job.cancelled", "batch.finished", "breaker.opened", "credits.low"]
EVENTS: tuple[Event, ...] = get_args(Event)
DEFAULT_EVENTS: tuple[Event, ...] = ("job.completed", "job.failed", "job.cancelled", "batch.finished")
"""The events of an endpoint that was added without a choice."""
OPERATOR_EVENTS: frozenset[Event] = frozenset({"breaker.opened"})
"""Events that are not about one user, so not for an endpoint of one user."""
TEST = "endpoint.test"

DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""Seconds from one try to the next: ten tries within a day."""
LONGEST_FAILING = 3 * 86_400.0
"""Seconds without a success after which an endpoint is disabled."""
LONGEST_REST = 3600.0
"""Longest Retry-After that is followed, in seconds."""
GONE = 410
BUSY = (429, 503)
REDIRECTS = (301, 302, 303, 307, 308)


class Reply(NamedTuple):
    """The result of one try: a status, or why there is none. ``retry_after`` is the header's value, in seconds."""

    status: int | None
    problem: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The new state of a delivery after one try, and of its endpoint."""

    status: Literal["delivered", "pending", "dead"]
    problem: str | None = None
    delay: float = 0.0
    """Seconds to the next try, if it stays pending."""
    rest: float | None = None
    """Seconds in which nothing is sent to the endpoint."""
    gone: bool = False
    """The endpoint answered 410: it is disabled."""


def judge(reply: Reply, *, attempts: int, spread: float) -> Judgement:
    """The state after the ``attempts``-th try. ``spread``, from 0 to 1, moves the next try by up to a tenth."""
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


# A notice: a provider's webhook says that a call may have ended. The call is polled then; a notice is never its result.


REF = re.compile(r"[!-~]{1,200}")
"""A provider's id of a call: printable ASCII without spaces, because a space follows it in a message."""
MESSAGE = re.compile(rf"call ({REF.pattern}) ([0-9a-f]{{16}})")


class Notice(NamedTuple):
    """``ref`` is the provider's id of the call; ``id`` is the same for each repetition of this notice."""

    ref: str
    id: str

    @classmethod
    def of(cls, ref: str, delivery: str) -> Self:
        """The notice with the provider's delivery id, which may be any text: its hash is used.

        Raises ValueError if ``ref`` is not an id of a call.
        """
        if REF.fullmatch(ref) is None:
            raise ValueError("not an id of a call")
        return cls(ref, hashlib.sha256(delivery.encode()).hexdigest()[:16])

    @classmethod
    def read(cls, message: str) -> Self | None:
        """The notice in a message to the fleet; None if the message is another one."""
        found = MESSAGE.fullmatch(message)
        return cls(*found.groups()) if found else None

    @property
    def message(self) -> str:
        """The message to the fleet. Workers of versions that do not know such messages ignore them."""
        return f"call {self.ref} {self.id}"


class NoticeRefused(Exception):
    """A request is not a valid notice, and is ignored. The message says why, without quoting the request."""

    code = "invalid_body"


class SignatureInvalid(NoticeRefused):
    """The request is not signed by the provider, or its signature is too old: anybody may have sent it."""

    code = "invalid_signature"


# Paths of our routes for providers: here, so that providers need no web framework to register them.


def webhook_path(provider: str) -> str:
    """The path to which the provider sends its webhooks."""
    return f"/worker/providers/{provider}/webhook"


def webhook_address(base: str, provider: str) -> str:
    """The URL for a web server at ``base``. A ``base`` that ends with the path is returned unchanged."""
    path = webhook_path(provider)
    return base if base.endswith(path) else base + path
