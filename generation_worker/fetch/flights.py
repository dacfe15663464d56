"""One fetch at a time for each URL, however many jobs of this process ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from generation_worker.domain.errors import InputError
from generation_worker.net.watched import SLICE, within
from generation_worker.ports import Watch


class _Flight:
    """A fetch under way. Whoever waits finds one of ``data`` and ``error`` at its end, or neither."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.data: bytes | None = None
        self.error: InputError | None = None


class Flights:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def share(self, key: str, fetch: Callable[[], bytes], watch: Watch) -> bytes:
        """What ``fetch`` brings, or what somebody else's for the same key does. Raises as they do, and as ``watch``."""
        while True:
            flight, mine = self._join(key)
            if mine:
                return self._lead(key, flight, fetch)
            while not flight.over.wait(within(watch, SLICE)):
                pass
            if flight.data is not None:
                return flight.data
            if flight.error is not None:
                raise type(flight.error)(flight.error.message)
            # That job was cancelled or lost: the next one fetches for itself, and for who else waits.

    def _join(self, key: str) -> tuple[_Flight, bool]:
        with self._lock:
            if flight := self._flights.get(key):
                return flight, False
            self._flights[key] = flight = _Flight()
            return flight, True

    def _lead(self, key: str, flight: _Flight, fetch: Callable[[], bytes]) -> bytes:
        try:
            flight.data = fetch()
            return flight.data
        except InputError as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.over.set()
