"""What providers have told us about calls under way, for the attempts of this process that wait for them.

A notice may come before anybody waits: while the request to create is still being answered, or to a worker that takes
the call up only later. So notices are remembered for a while, and whoever begins to wait asks first. They may also come
twice, or to a worker that has nothing to do with them. All that is harmless: a notice makes an attempt look once more.
"""

from __future__ import annotations

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

MOST_KEPT = 10_000
"""Each worker hears the notices of the whole fleet: at the highest rate that Replicate allows, 6,000 in ten minutes."""
KEPT_FOR = 600.0
"""Seconds: longer than any request to create may take, so that a notice which overtook its answer is still there."""


class ProviderHints:
    """Safe to use from many threads at once."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def post(self, notice: Notice) -> bool:
        """Remember it, and wake who waits for that call here; whether anybody does. The same one again wakes nobody."""
        with self._lock:
            self._forget_old()
            waiting = list(self._waiting.get(notice.ref, ()))
            known = self._kept.get(notice.ref)
            if known is not None and known[0] == notice.id:
                return bool(waiting)
            self._kept[notice.ref] = (notice.id, self._clock())
            self._kept.move_to_end(notice.ref)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        for wake in waiting:
            wake()
        return bool(waiting)

    def latest(self, ref: str) -> str | None:
        """The id of the last notice about this call; None if there was none within ``KEPT_FOR``."""
        with self._lock:
            self._forget_old()
            known = self._kept.get(ref)
        return known[0] if known else None

    @contextmanager
    def waiting(self, ref: str, wake: Callable[[], None]) -> Generator[None]:
        """Within the block ``wake`` is called, in another thread, when there is news of this call."""
        with self._lock:
            self._waiting.setdefault(ref, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[ref].remove(wake)
                if not self._waiting[ref]:
                    del self._waiting[ref]

    def _forget_old(self) -> None:
        until = self._clock() - KEPT_FOR
        while self._kept and next(iter(self._kept.values()))[1] < until:
            self._kept.popitem(last=False)


class HintSubscription:
    """One call's view of the notices: each is news to it until the look that answers it. For one thread.

    ``rouse`` is called, by another thread, when it is worth asking whether there is news.
    """

    def __init__(self, notices: ProviderHints, rouse: Callable[[], None]) -> None:
        self._notices = notices
        self._rouse = rouse
        self._heeded: str | None = None

    @contextmanager
    def open(self, ref: str) -> Generator[Callable[[], bool]]:
        """Within the block there is somebody who waits for this call. Hands out whether there is news of it."""
        with self._notices.waiting(ref, self._rouse):
            yield lambda: self._has_news(ref)

    def acknowledge(self, ref: str) -> bool:
        """A look follows, and answers every notice that is here now; whether there is one."""
        has_news = self._has_news(ref)
        self._heeded = self._notices.latest(ref) or self._heeded
        return has_news

    def _has_news(self, ref: str) -> bool:
        return self._notices.latest(ref) not in (None, self._heeded)


@dataclass(frozen=True, slots=True)
class Inbox:
    """Takes in what providers send to this process. Who waits here is told directly, whether or not LISTEN works."""

    notices: ProviderHints
    store: Store

    def post(self, notice: Notice) -> bool:
        """Tell who waits in this process; whether anybody does."""
        return self.notices.post(notice)

    def send(self, notice: Notice) -> None:
        """Tell the fleet; our own listener hears it too, and knows it already. Raises StoreUnavailable."""
        self.store.send_message(notice.message)


# Hears hints from other processes: work came in, somebody asked to cancel, a call ended. Losing one is no error.


WAIT = 1.0
"""Seconds of one wait: how long a stop may take, not how long a message may."""
SELF_TEST = 3.0
"""Seconds in which our own message must come back."""


class Listener:
    """``live`` is true while messages are known to arrive; only then may the poller sleep long."""

    def __init__(
        self,
        signals: Signals | None,
        events: Events,
        *,
        wake: Callable[[], None],
        beat: Callable[[], None],
        notice: Callable[[Notice], object],
    ) -> None:
        """``beat`` is called for what a heartbeat brings: who is to be cancelled, what the fleet is to follow."""
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
        """Connect if need be, then wait for messages. An address on which nothing is heard is given up."""
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
        """Listen, and prove it: behind some poolers LISTEN succeeds and nothing is ever heard."""
        signals.open()
        self.live = hears_itself(signals)
        self._events.emit("listen.live" if self.live else "listen.deaf")
        if self.live:
            self._handlers["wake"]()  # what came while nobody listened
        return self.live


def hears_itself(signals: Signals) -> bool:
    """Whether a message that is sent on ``signals``, which are open, comes back. Raises StoreUnavailable."""
    test = f"test {uuid.uuid4()}"
    signals.send(test)
    heard, until = False, time.monotonic() + SELF_TEST
    while not heard and (left := until - time.monotonic()) > 0:
        heard = test in signals.wait(left)
    return heard
