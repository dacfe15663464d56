"""One provider call under way: when it must end, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from generation_worker.domain.errors import ProviderTimedOut

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
