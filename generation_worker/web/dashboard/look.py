"""One look at the database for all who watch at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


def _now() -> float:
    return monotonic()


class SharedLook(Generic[T]):
    """What ``take`` saw, as long as it is not older than ``seconds``: a hundred open pages ask no more than one."""

    def __init__(self, take: Callable[[], T], *, seconds: float, clock: Callable[[], float] = _now) -> None:
        self._take = take
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[float, T] | None = None

    def __call__(self, *, anew: bool = False) -> T:
        """``anew`` for somebody who has just changed what is to be seen.

        Raises whatever ``take`` raises, and does not keep that.
        """
        with self._lock:
            if anew or self._seen is None or self._clock() - self._seen[0] >= self._seconds:
                self._seen = (self._clock(), self._take())
            return self._seen[1]
