"""Hears hints from other processes: work came in, somebody asked to cancel, a call ended. Losing one is no error."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from generation_worker.domain.notice import Notice
from generation_worker.events import Events
from generation_worker.ports import Signals, StoreUnavailable
from generation_worker.worker.loop import Loop

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
