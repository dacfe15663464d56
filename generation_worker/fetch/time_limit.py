"""A bound on the whole of one exchange, from asking the name server to the last byte."""

from __future__ import annotations

import time
from collections.abc import Callable

from generation_worker.fetch.failures import TimeUp
from generation_worker.ports import Watch

Clock = Callable[[], float]


class TimeLimit:
    """``watch``, and ``seconds`` from now at most. ``check`` raises TimeUp when they are over."""

    def __init__(self, watch: Watch, seconds: float, clock: Clock = time.monotonic) -> None:
        self._watch = watch
        self._seconds = seconds
        self._clock = clock
        self._deadline = clock() + seconds

    def check(self) -> None:
        self._watch.check()
        if self._clock() >= self._deadline:
            raise TimeUp(self._seconds)

    def seconds_left(self) -> float:
        return max(0.0, min(self._deadline - self._clock(), self._watch.seconds_left()))
