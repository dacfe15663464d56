"""HTTP requests to providers: deadline, cancellation, permit, size limit and secret redaction for every request."""

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

from generation_worker.domain import errors

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx2

    from generation_worker.ports import Control

Clock = Callable[[], float]
Json = Mapping[str, Any]

NO_HEADERS: Mapping[str, str] = {}
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 86_400.0
"""Seconds. A server's answer can make us neither hammer it nor wait for years."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON of any shape; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def retry_after(self) -> float | None:
        """The wait in the Retry-After header, in seconds; None if there is none."""
        return retry_wait(None, self.headers.get("retry-after"), datetime.now(UTC))


class NoResponse(Exception):
    """A request got no complete response. ``sent``: it was sent whole, so the provider may have served it."""

    def __init__(self, reason: str, *, sent: bool, timed_out: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        self.timed_out = timed_out

    def to_paid_call(self, provider: str) -> errors.JobError:
        """The error of a paid request: ``provider`` may be working on it."""
        if not self.sent:
            return errors.ProviderUnavailable(f"The request did not reach {provider} ({self}).")
        if self.timed_out:
            return errors.ProviderTimedOut(f"{provider} did not answer in time.")
        return errors.ProviderUnavailable(
            f"The connection to {provider} ended in the middle of the response ({self}).", spent=True
        )


class HttpCalls:
    """Requests to one provider, over a connection pool that all threads share.

    ``provider`` is its name in error messages. ``base_url`` selects the proxy. ``secret`` is redacted from every
    response body, so that nothing derived from a response contains it.
    """

    def __init__(self, provider: str, base_url: str, *, connections: int, secret: str) -> None:
        self._provider = provider
        self._base_url = base_url
        self._connections = connections
        self._secret = secret.encode()
        self._client: httpx2.Client | None = None
        self._opening = threading.Lock()

    def warm_up(self) -> None:
        """Load the HTTP client, which is slow; sends no request."""
        self._opened()

    def close(self) -> None:
        """Close the connections. A later request opens new ones."""
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
    ) -> HttpResponse:
        """Send one request and return its complete response, whatever the status; redirects are not followed.

        The whole request takes at most ``limit`` seconds, however slowly bytes arrive, and ends within half a second
        when the attempt is stopped. A ``paid`` request asks for its permit when its first byte is about to be sent.
        ``content`` is passed to httpx2: json, files …

        Raises NoResponse, OutputRejected for a body of more than ``most_bytes``, GateClosed, and what
        ``Control.check`` raises.
        """
        control.check()
        client = self._opened()
        watch = CallWatch(control, limit=min(limit, control.seconds_left()), most_bytes=most_bytes, paid=paid)
        try:
            with use_watch(watch):
                plain = {**headers, "Accept-Encoding": "identity"}  # the size of compressed data cannot be bounded
                response = client.request(method, url, headers=plain, **content)
                return HttpResponse(response.status_code, response.headers, self._redacted(response.content))
        except (errors.AttemptStopped, errors.AttemptTimedOut, errors.GateClosed):
            raise
        except ResponseTooLarge:
            megabytes = most_bytes // 1_000_000
            failure: Exception = errors.OutputRejected(f"{self._provider}'s response is larger than {megabytes} MB.")
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: there is no response
            failure = NoResponse(
                type(error).__name__, sent=watch.sent, timed_out=isinstance(error, errors.ProviderTimedOut)
            )
        # Outside the handler: as its context, the library's error would keep the request and the secret alive.
        raise failure

    def _redacted(self, body: bytes) -> bytes:
        return body.replace(self._secret, b"[secret]") if self._secret else body

    def _opened(self) -> httpx2.Client:
        with self._opening:
            if self._client is None:
                from generation_worker.providers.http_transport import watched_client  # noqa: PLC0415 - slow to import

                self._client = watched_client(self._base_url, connections=self._connections)
            return self._client


class DeadlineControl:
    """The control of a request that belongs to no attempt and costs nothing: only its deadline, in seconds, ends it."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """Never raises; the call's watch compares the deadline."""

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:  # noqa: ARG002 - it gets no notices
        time.sleep(min(seconds, self.seconds_left()))

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def admit(self) -> None:
        """The request is free, so it needs no permit."""

    def remember(self, provider_ref: str) -> None:
        """No later attempt would resume it."""


class ResponseTooLarge(Exception):
    """The response is larger than its limit; the rest of it is not read."""


class CallWatch:
    """The watch of one provider call: checked before each read and write of its connection.

    ``limit`` bounds the whole call, in seconds; ``most_bytes`` bounds the response body. A ``paid`` call asks for its
    permit when a connection is there and the request is about to be sent.
    """

    def __init__(
        self, control: Control, *, limit: float, most_bytes: int, paid: bool = False, clock: Clock = time.monotonic
    ) -> None:
        self.limit = limit
        self.sent = False
        """The whole request was sent, so the provider may have served it and may charge for it."""
        self.status: int | None = None
        """The response's HTTP status, once it is known."""
        self._control = control
        self._needs_permit = paid
        self._clock = clock
        self._deadline = clock() + limit
        self._bytes_left = most_bytes

    def check(self) -> None:
        """Return if the call may continue. Raises ProviderTimedOut, and what ``Control.check`` raises."""
        self._control.check()
        if self._clock() >= self._deadline:
            what = "did not answer" if self.sent else "did not take the request"
            raise errors.ProviderTimedOut(f"The provider {what} within {round(self.limit, 1):g} s.", spent=self.sent)

    def before_write(self) -> None:
        """Ask for the permit before the first byte is sent. Raises GateClosed, and what ``check`` raises."""
        if self._needs_permit:
            self._needs_permit = False
            self._control.admit()
            self.check()

    def seconds_left(self) -> float:
        """Seconds until ``check`` raises at the latest; never negative."""
        return max(0.0, min(self._deadline - self._clock(), self._control.seconds_left()))

    def received(self, count: int) -> None:
        """Count ``count`` bytes of the body. Raises ResponseTooLarge."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ResponseTooLarge


@contextmanager
def use_watch(watch: CallWatch) -> Generator[None]:
    """Let ``watch`` govern this thread's reads and writes: pooled connections pass from one call to the next."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def current_watch() -> CallWatch:
    """The watch of this thread's call. Raises LookupError outside ``use_watch``."""
    return _watch.get()


def retry_wait(retry_delay: str | None, retry_after: str | None, now: datetime) -> float | None:
    """Seconds to wait after a 429, between SHORTEST_WAIT and LONGEST_WAIT; None if neither argument gives a time.

    ``retry_delay`` is Google's RetryInfo (``34.07s``) and takes precedence over ``retry_after``, the header: seconds
    or a date.
    """
    for seconds in (_seconds(retry_delay), _seconds(retry_after), _seconds_until(retry_after, now)):
        if seconds is not None:
            return _clamped(seconds)
    return None


def daily_quota_wait(now: datetime) -> float:
    """Seconds until Google resets its daily quotas: at midnight in California."""
    here = now.astimezone(_pacific())
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return _clamped((midnight.astimezone(UTC) - now).total_seconds())


def object_in(value: object) -> Json:
    """``value`` if it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects_in(value: object) -> Iterator[Json]:
    """The JSON objects in ``value`` if it is a list, else none."""
    for item in cast("list[object]", value) if isinstance(value, list) else []:
        if isinstance(item, dict):
            yield cast("Json", item)


_watch: ContextVar[CallWatch] = ContextVar("call_watch")
_DURATION = re.compile(r"\s*(-?\d{1,300}(?:\.\d+)?)\s*s?\s*")


def _pacific() -> tzinfo:
    """Without a time zone database it is winter time, which in summer is an hour late, but never early."""
    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=-8))


def _seconds(text: str | None) -> float | None:
    match = _DURATION.fullmatch(text or "")
    return float(match[1]) if match else None


def _seconds_until(text: str | None, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, TypeError):
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)
