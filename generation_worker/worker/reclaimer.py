"""Takes back jobs whose worker fell silent: an expired lease is only another way in which an attempt ends."""

from __future__ import annotations

import time

from generation_worker.domain.outcome import Crashed
from generation_worker.events import Events
from generation_worker.ports import Reclaim, Store
from generation_worker.worker.lease import Clock, Lease
from generation_worker.worker.settler import Settler

BATCH = 100
LEASE = 30.0
"""Seconds that the takeover holds: long enough to write a settlement, short if this worker dies too."""


class Reclaimer:
    def __init__(
        self,
        store: Store,
        settler: Settler,
        events: Events,
        *,
        timeout: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._settler = settler
        self._events = events
        self._timeout = timeout
        self._clock = clock

    def reclaim(self) -> None:
        """Take over what has expired and settle it as crashed."""
        while True:
            now = self._clock()
            reclaimed = self._store.reclaim_jobs(limit=BATCH, lease=LEASE)
            for taken in reclaimed:
                self._settle(taken, now)
            if len(reclaimed) < BATCH:
                return

    def _settle(self, taken: Reclaim, now: float) -> None:
        job = taken.job
        timed_out = taken.held_for >= self._timeout or job.seconds_left <= 0
        self._events.emit(
            "lease.reclaimed",
            **job.tags,
            worker=taken.worker,
            seconds=taken.held_for,
            kind=job.kind,
            provider=job.provider,
        )
        lease = Lease(job, claimed_at=now, duration=LEASE, timeout=self._timeout, clock=self._clock)
        self._settler.put(lease, Crashed(taken.worker, timed_out=timed_out))
