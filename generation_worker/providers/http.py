"""HTTP requests of an adapter: deadlines, cancels, permits, sizes and secrets are handled here, for every request."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from generation_worker.domain.errors import (
    AttemptStopped,
    AttemptTimedOut,
    GateClosed,
    JobError,
    OutputRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)

# One provider call under way: when it must end, and how far it has come.


if TYPE_CHECKING:
    from collections.abc import Generator

    from generation_worker.ports import Control

Clock = Callable[[], float]


class Unattended:
    """The control of a request that belongs to no attempt and costs nothing: nobody stops it, its time ends it."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """It may go on; the watch counts the time."""

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:  # noqa: ARG002 - nobody tells it anything
        time.sleep(min(seconds, self.seconds_left()))

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def admit(self) -> None:
        """Nothing is paid, so it needs no permit."""

    def remember(self, provider_ref: str) -> None:
        """There is nobody who would ask for it again."""


class AnswerTooLarge(Exception):
    """The answer is larger than any picture; the rest of it is not read."""


class CallWatch:
    """Asked before each read and write of the call's connection, so that neither a hang nor a drip outlives its time.

    ``limit`` is the most seconds for the whole call, ``most_bytes`` the most that its answer may have. If it is
    ``paid``, it is admitted when a connection is there and its request is about to leave.
    """

    def __init__(
        self, control: Control, *, limit: float, most_bytes: int, paid: bool = False, clock: Clock = time.monotonic
    ) -> None:
        self.limit = limit
        self.sent = False
        """The whole request went out, so the provider may have served it, and charge for it."""
        self.status: int | None = None
        """The answer's HTTP status, as soon as it is known."""
        self._control = control
        self._to_be_admitted = paid
        self._clock = clock
        self._deadline = clock() + limit
        self._bytes_left = most_bytes

    def check(self) -> None:
        """Return if the call may go on. Raises as ``Control.check`` does, and ProviderTimedOut."""
        self._control.check()
        if self._clock() >= self._deadline:
            what = "did not answer" if self.sent else "did not take the request"
            raise ProviderTimedOut(f"The provider {what} within {round(self.limit, 1):g} s.", spent=self.sent)

    def going_out(self) -> None:
        """The first byte of the request is about to leave. Raises GateClosed, and as ``check`` does."""
        if self._to_be_admitted:
            self._to_be_admitted = False
            self._control.admit()
            self.check()

    def seconds_left(self) -> float:
        """Seconds until ``check`` will raise at the latest; never negative."""
        return max(0.0, min(self._deadline - self._clock(), self._control.seconds_left()))

    def received(self, count: int) -> None:
        """Raises AnswerTooLarge."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise AnswerTooLarge


_watch: ContextVar[CallWatch] = ContextVar("call_watch")


@contextmanager
def watched(watch: CallWatch) -> Generator[None]:
    """What this thread reads and writes now belongs to ``watch``: connections are shared, and change hands."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def current_watch() -> CallWatch:
    """Raises LookupError outside ``watched``."""
    return _watch.get()


# How long Google wants us to wait after a 429.


SHORTEST, LONGEST = 1.0, 86_400.0
"""Seconds. Nothing that a server says makes us hammer it, or wait for years."""
DURATION = re.compile(r"\s*(-?\d{1,300}(?:\.\d+)?)\s*s?\s*")


def wait_of(retry_delay: str | None, retry_after: str | None, now: datetime) -> float | None:
    """Seconds, by RetryInfo (``34.07s``) or else the Retry-After header (seconds or a date); None if neither says."""
    for asked in (_seconds(retry_delay), _seconds(retry_after), _until(retry_after, now)):
        if asked is not None:
            return _clamped(asked)
    return None


def next_day(now: datetime) -> float:
    """Seconds until the daily quotas begin anew: at midnight in California."""
    here = now.astimezone(_pacific())
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return _clamped((midnight.astimezone(UTC) - now).total_seconds())


def _pacific() -> tzinfo:
    """Without a time zone database the winter time is taken: in summer it asks an hour late, but never early."""
    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=-8))


def _seconds(text: str | None) -> float | None:
    match = DURATION.fullmatch(text or "")
    return float(match[1]) if match else None


def _until(text: str | None, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, TypeError):
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST), LONGEST)


# What came back of one HTTP request, be it that nothing did.


class NoAnswer(Exception):
    """A request has no whole answer. ``sent``: it went out, so it may have been served."""

    def __init__(self, reason: str, *, sent: bool, timed_out: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        self.timed_out = timed_out

    def to_paid_call(self, provider: str) -> JobError:
        """What that amounts to if the request was the one that is paid: ``provider`` may be at work on it."""
        if not self.sent:
            return ProviderUnavailable(f"The request did not reach {provider} ({self}).")
        if self.timed_out:
            return ProviderTimedOut(f"{provider} did not answer in time.")
        return ProviderUnavailable(f"{provider}'s answer broke off ({self}).", spent=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON of any shape; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def retry_after(self) -> float | None:
        """Seconds that the header of that name asks for, as a number or as a date; None if it does not say."""
        return wait_of(None, self.headers.get("retry-after"), datetime.now(UTC))


# HTTP requests of an adapter. What all have to heed is done here: deadlines, cancels, permits, sizes, secrets.


if TYPE_CHECKING:
    import httpx2

    from generation_worker.ports import Control

NO_HEADERS: Mapping[str, str] = {}


class HttpCalls:
    """Requests to ``provider`` over at most so many connections, which all threads share.

    ``base_url`` is for choosing the proxy. ``secret`` is taken out of an answer that repeats it, so that nothing
    that is made of the answer does.
    """

    def __init__(self, provider: str, base_url: str, *, connections: int, secret: str) -> None:
        self._provider = provider
        self._base_url = base_url
        self._connections = connections
        self._secret = secret.encode()
        self._client: httpx2.Client | None = None
        self._opening = threading.Lock()

    def warm_up(self) -> None:
        """Load the HTTP client, which takes a while; no request is made."""
        self._opened()

    def close(self) -> None:
        """Close the connections. A request after this opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def request(
        self,
        method: str,
        url: str,
        control: Control,
        *,
        limit: float,
        most_bytes: int,
        paid: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        **content: Any,
    ) -> Answer:
        """One request and its whole answer, whatever the status; redirects are not followed.

        It takes at most ``limit`` seconds, however slowly bytes come, and ends at once when the attempt may not go on.
        One that is ``paid`` is admitted when its first byte is about to leave. ``content`` is httpx2's: json, files …

        Raises NoAnswer, OutputRejected if the answer has more than ``most_bytes``, GateClosed, and what
        ``Control.check`` raises.
        """
        control.check()
        client = self._opened()
        watch = CallWatch(control, limit=min(limit, control.seconds_left()), most_bytes=most_bytes, paid=paid)
        try:
            with watched(watch):
                plain = {**headers, "Accept-Encoding": "identity"}  # or nobody could bound the size of what comes
                answer = client.request(method, url, headers=plain, **content)
                return Answer(answer.status_code, answer.headers, self._without_secret(answer.content))
        except (AttemptStopped, AttemptTimedOut, GateClosed):
            raise
        except AnswerTooLarge:
            megabytes = most_bytes // 1_000_000
            failure: Exception = OutputRejected(f"{self._provider}'s answer is larger than {megabytes} MB.")
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: there is no answer
            failure = NoAnswer(type(error).__name__, sent=watch.sent, timed_out=isinstance(error, ProviderTimedOut))
        # Outside of the handler: the library's error would hang on to this one, and with it the request and the secret.
        raise failure

    def _without_secret(self, body: bytes) -> bytes:
        return body.replace(self._secret, b"[secret]") if self._secret else body

    def _opened(self) -> httpx2.Client:
        with self._opening:
            if self._client is None:
                from generation_worker.providers.http_transport import watched_client  # noqa: PLC0415 - takes a while

                self._client = watched_client(self._base_url, connections=self._connections)
            return self._client


# Reading JSON of any shape: what is not there, or is something else, reads as empty.


Json = Mapping[str, Any]


def object_in(value: object) -> Json:
    """``value`` if it is an object, or an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects_in(value: object) -> Iterator[Json]:
    """The objects in ``value``, if it is a list."""
    for item in cast("list[object]", value) if isinstance(value, list) else []:
        if isinstance(item, dict):
            yield cast("Json", item)
