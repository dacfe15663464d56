"""The arrival times of requests, counted as a provider counts them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable

WINDOW = 60.0
"""Seconds that a limit per minute looks back."""


class Arrivals:
    """Monotonic times, in order. Safe to use from many threads at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: list[float] = []
        self._admitted: list[float] = []

    def admit(self, limit: int | None) -> float | None:
        """Count an arrival. Seconds until the next one is admitted if there were ``limit`` in the window, else None."""
        with self._lock:
            now = self._clock()
            self._times.append(now)
            inside = self._admitted[bisect_right(self._admitted, now - WINDOW) :]
            if limit is not None and len(inside) >= limit:
                return inside[-limit] + WINDOW - now if limit else WINDOW
            self._admitted.append(now)
            return None

    def times(self) -> list[float]:
        with self._lock:
            return list(self._times)

    def busiest_window(self, seconds: float = WINDOW) -> int:
        """The most arrivals, admitted or not, within any ``seconds``."""
        times = self.times()
        return max((bisect_right(times, start + seconds) - at for at, start in enumerate(times)), default=0)
