"""Ends what waited too long, and deletes what is kept no longer."""

from __future__ import annotations

from generation_worker.events import Events
from generation_worker.ports import Outbox, Store

BATCH = 500
MOST_BATCHES = 20
"""Bounds one run; the next one goes on."""
DELIVERIES_KEPT = 30 * 86_400.0
"""Seconds for which ended deliveries can be looked at and replayed; never longer than jobs are kept."""


class Pruner:
    def __init__(self, store: Store, events: Events, *, retention: float, outbox: Outbox | None = None) -> None:
        self._store = store
        self._events = events
        self._retention = retention
        self._outbox = outbox

    def expire(self) -> None:
        """Fail, with their refund, jobs that still wait after their deadline."""
        for _ in range(MOST_BATCHES):
            expired = self._store.expire_jobs(limit=BATCH)
            for job in expired:
                self._events.emit(
                    "job.expired",
                    job=job.id,
                    trace_id=job.trace_id,
                    traceparent=job.traceparent,
                    age=job.age,
                    error_code="deadline_exceeded",
                )
            if len(expired) < BATCH:
                return

    def prune(self) -> None:
        """Delete final jobs older than the retention (seconds; 0 keeps them for ever), and images staged in vain.

        Deliveries that ended go after a month, or with the jobs; what is known of deleted uploads, with the jobs.
        """
        self._store.prune_staged(limit=BATCH)
        self._prune_deliveries()
        if self._retention <= 0:
            return
        self._prune_swept()
        for _ in range(MOST_BATCHES):
            pruned = self._store.prune_jobs(retention=self._retention, limit=BATCH)
            if pruned:
                self._events.emit("jobs.pruned", number=pruned)
            if pruned < BATCH:
                return

    def _prune_swept(self) -> None:
        for _ in range(MOST_BATCHES):
            if self._store.prune_swept(retention=self._retention, limit=BATCH) < BATCH:
                return

    def _prune_deliveries(self) -> None:
        if self._outbox is None:
            return
        retention = min(self._retention or DELIVERIES_KEPT, DELIVERIES_KEPT)
        for _ in range(MOST_BATCHES):
            if self._outbox.prune_deliveries(retention=retention, limit=BATCH) < BATCH:
                return
