"""Makes jobs pending when their time has come, and knows when the next one is due."""

from __future__ import annotations

import time

from generation_worker.events import Events
from generation_worker.ports import Store, StoreUnavailable
from generation_worker.worker.lease import Clock

BATCH = 500


class Promoter:
    """Asked by the poller before each claim; it asks the database only when something may be due."""

    def __init__(self, store: Store, events: Events, *, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._next_look = clock()

    def due_in(self, seconds: float) -> bool:
        """A job of ours will be due then. Whether that is sooner than we would have looked."""
        at = self._clock() + seconds
        sooner = at < self._next_look
        if sooner:
            self._next_look = at
        return sooner

    def look_now(self) -> None:
        """Somebody changed something: what was known about the next due time may be too late."""
        self._next_look = self._clock()

    @property
    def seconds_to_next_look(self) -> float:
        return max(0.0, self._next_look - self._clock())

    def promote(self, *, look_again: float) -> int:
        """Promote what is due; how many became pending. What nobody tells of is found ``look_again`` seconds later."""
        if self._clock() < self._next_look:
            return 0
        self._next_look = self._clock() + look_again  # before the statement: due_in may come while it runs
        try:
            promotion = self._store.promote_jobs(limit=BATCH)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what is pending can be claimed all the same
            self._events.emit("promotion.failed", exc_info=error)
            return 0
        if promotion.next_due is not None:
            self.due_in(max(promotion.next_due, 0.0))
        if promotion.promoted:
            self._events.emit("jobs.promoted", number=promotion.promoted)
        if promotion.promoted == BATCH:
            self.look_now()
        return promotion.promoted
