"""Hints from other processes and from providers: new work, a cancellation, changed settings, a call that ended.

A hint makes the worker look sooner and says nothing more: it may come early, late, twice or never.
"""

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from generation_worker.domain.webhook import Notice
from generation_worker.events import Events
from generation_worker.ports import Signals, Store, StoreUnavailable
from generation_worker.worker.lease import Clock
from generation_worker.worker.loop import Loop

# LISTEN and NOTIFY

WAIT = 1.0
"""Seconds of one wait. It bounds how long a stop takes, not how long a message takes."""
SELF_TEST = 3.0
"""Seconds in which the listener's own message must come back."""


class Listener:
    """Receives messages of other processes. ``live`` is true while messages are known to arrive.

    Only then may the poller sleep long. A message that is lost does no harm.
    """

    def __init__(
        self,
        signals: Signals | None,
        events: Events,
        *,
        wake: Callable[[], None],
        beat: Callable[[], None],
        notice: Callable[[Notice], object],
    ) -> None:
        """``beat`` is called for changes that a heartbeat reads: cancellations, and settings of the fleet."""
        self._signals = signals
        self._events = events
        self._handlers = {"wake": wake, "cancel": beat, "control": beat}
        self._notice = notice
        self.live = False
        self.loop = Loop("listener", self.step, events)

    def start(self) -> None:
        if self._signals is not None:
            self.loop.start()

    def step(self) -> float | None:
        """Connect if necessary, then wait for messages. An address on which no message arrives is given up."""
        assert self._signals is not None
        if not self.live and not self._connect(self._signals):
            self._signals.close()
            return None
        try:
            messages = self._signals.wait(WAIT)
        except StoreUnavailable:
            self.live = False
            raise
        for message in dict.fromkeys(messages):
            if handler := self._handlers.get(message):
                handler()
            elif notice := Notice.read(message):
                self._notice(notice)
        return 0

    def close(self) -> None:
        self.loop.stop()
        if self._signals is not None and self.loop.join(2 * WAIT):
            self._signals.close()
        self.live = False

    def _connect(self, signals: Signals) -> bool:
        """Listen, and prove that it works: behind some poolers LISTEN succeeds and no message ever arrives."""
        signals.open()
        self.live = receives_own_message(signals)
        self._events.emit("listen.live" if self.live else "listen.deaf")
        if self.live:
            self._handlers["wake"]()  # messages that were sent before the connection was open
        return self.live


def receives_own_message(signals: Signals) -> bool:
    """Whether a message that is sent on ``signals``, which are open, comes back. Raises StoreUnavailable."""
    test = f"test {uuid.uuid4()}"
    signals.send(test)
    received, until = False, time.monotonic() + SELF_TEST
    while not received and (left := until - time.monotonic()) > 0:
        received = test in signals.wait(left)
    return received


# Notices of providers about calls

MOST_KEPT = 10_000
"""Each worker receives the notices of the whole fleet: at Replicate's highest rate, 6,000 in ten minutes."""
KEPT_FOR = 600.0
"""Seconds: longer than any request that creates a call, so a notice that arrives before its answer is still there."""


class ProviderHints:
    """The latest notice about each call, for the attempts of this process that wait for one. Thread-safe.

    A notice may come before an attempt waits for it: while the request that creates the call is still being answered,
    or to a worker that resumes the call later. So each is kept for a while, and an attempt that begins to wait reads
    it first.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def post(self, notice: Notice) -> bool:
        """Keep the notice and wake the attempts that wait for its call; whether there are any.

        The same notice again wakes none.
        """
        with self._lock:
            self._drop_old()
            waiting = list(self._waiting.get(notice.ref, ()))
            known = self._latest.get(notice.ref)
            if known is not None and known[0] == notice.id:
                return bool(waiting)
            self._latest[notice.ref] = (notice.id, self._clock())
            self._latest.move_to_end(notice.ref)
            if len(self._latest) > MOST_KEPT:
                self._latest.popitem(last=False)
        for wake in waiting:
            wake()
        return bool(waiting)

    def latest(self, ref: str) -> str | None:
        """The id of the latest notice about this call; None if there was none within ``KEPT_FOR``."""
        with self._lock:
            self._drop_old()
            known = self._latest.get(ref)
        return known[0] if known else None

    @contextmanager
    def waiting(self, ref: str, wake: Callable[[], None]) -> Generator[None]:
        """Within the block, a new notice about this call calls ``wake``, in another thread."""
        with self._lock:
            self._waiting.setdefault(ref, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[ref].remove(wake)
                if not self._waiting[ref]:
                    del self._waiting[ref]

    def _drop_old(self) -> None:
        until = self._clock() - KEPT_FOR
        while self._latest and next(iter(self._latest.values()))[1] < until:
            self._latest.popitem(last=False)


class HintSubscription:
    """One call's view of the hints: a notice is new until it is acknowledged. For one thread.

    Another thread calls ``wake`` when there may be a new notice.
    """

    def __init__(self, hints: ProviderHints, wake: Callable[[], None]) -> None:
        self._hints = hints
        self._wake = wake
        self._acknowledged: str | None = None

    @contextmanager
    def open(self, ref: str) -> Generator[Callable[[], bool]]:
        """Within the block the call waits for notices. Yields a function that returns whether there is a new one."""
        with self._hints.waiting(ref, self._wake):
            yield lambda: self._has_new(ref)

    def acknowledge(self, ref: str) -> bool:
        """Mark every notice so far as answered, because the provider is queried next; whether one was new."""
        has_new = self._has_new(ref)
        self._acknowledged = self._hints.latest(ref) or self._acknowledged
        return has_new

    def _has_new(self, ref: str) -> bool:
        return self._hints.latest(ref) not in (None, self._acknowledged)


@dataclass(frozen=True, slots=True)
class Inbox:
    """Receives the notices that providers send to this process."""

    hints: ProviderHints
    store: Store

    def post(self, notice: Notice) -> bool:
        """Wake the attempts of this process that wait for the call, whether or not LISTEN works; whether any does."""
        return self.hints.post(notice)

    def send(self, notice: Notice) -> None:
        """Send the notice to the whole fleet. Our own listener receives it too, and ignores it as known.

        Raises StoreUnavailable.
        """
        self.store.send_message(notice.message)
