"""One look at the database for all who watch at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLook(Generic[T]):
    """What ``take`` saw, as long as it is not older than ``seconds``: a hundred open pages ask no more than one."""

    def __init__(self, take: Callable[[], T], *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._take = take
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[float, T] | None = None

    def __call__(self) -> T:
        """Raises whatever ``take`` raises, and does not keep that."""
        with self._lock:
            if self._seen is None or self._clock() - self._seen[0] >= self._seconds:
                self._seen = (self._clock(), self._take())
            return self._seen[1]
