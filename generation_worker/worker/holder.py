"""Keeps what is paused out of the claims' way."""

from __future__ import annotations

from collections.abc import Callable

from generation_worker.events import Events
from generation_worker.ports import Store

BATCH = 2000
MOST_ROUNDS = 50


class Holder:
    """Puts paused jobs aside as they come to the front, and gives those back whose pause is over.

    A pause does not need it to hold, nor a job that was not put aside to start: it only spares claims what they would
    read in vain.
    """

    def __init__(self, store: Store, events: Events) -> None:
        self._store = store
        self._events = events

    def hold(self) -> None:
        held = self._rounds(self._store.hold_jobs, enough=BATCH // 2)
        freed = self._rounds(self._store.free_jobs, enough=1)
        if held or freed:
            self._events.emit("jobs.held", held=held, freed=freed)

    def _rounds(self, move: Callable[..., int], *, enough: int) -> int:
        """Until a round moves less than that; the total. It goes on next time if there is very much."""
        total = 0
        for _ in range(MOST_ROUNDS):
            moved = move(limit=BATCH)
            total += moved
            if moved < enough:
                break
        return total
