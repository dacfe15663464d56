"""Writes settlements in batches: one job alone does not wait, and a busy worker commits once for many jobs."""

import random
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from generation_worker.domain.errors import InternalError
from generation_worker.domain.settlement import Failed, Outcome, Released, RetryPolicy, Settlement, settle
from generation_worker.events import Events
from generation_worker.ports import Store, StoreBusy, StoreUnavailable
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.loop import Loop

BATCH = 500
"""The most settlements of one statement: a larger one would only hold its locks for longer."""


class EndedAttempt(NamedTuple):
    """An attempt that ended, and its settlement: decided once, however often it has to be written."""

    lease: Lease
    outcome: Outcome
    settlement: Settlement
    after: float
    """Seconds from the claim to the end."""


class Settler:
    """Takes outcomes from any thread, and writes their settlements in its own."""

    def __init__(
        self,
        store: Store,
        policy: RetryPolicy,
        leases: LeaseBook,
        events: Events,
        *,
        due_in: Callable[[float], None],
        written: Callable[[], None],
    ) -> None:
        """``due_in`` gets the seconds until a job is due again; ``written`` is called after a batch was written."""
        self._store = store
        self._policy = policy
        self._leases = leases
        self._events = events
        self._due_in = due_in
        self._written = written
        self._queue: SimpleQueue[EndedAttempt] = SimpleQueue()
        self._unwritten: dict[str, EndedAttempt] = {}
        self.loop = Loop("settler", self.step, events)

    def put(self, lease: Lease, outcome: Outcome) -> None:
        self._queue.put(self._decide(lease, outcome))
        self.loop.wake()

    @property
    def waiting(self) -> int:
        return self._queue.qsize() + len(self._unwritten)

    def step(self) -> float | None:
        """Write the waiting settlements. If the database does not answer, the next step writes the same ones."""
        self._take(BATCH - len(self._unwritten))
        if self._unwritten:
            self._write(list(self._unwritten.values()))
            self._written()
        return 0 if self._queue.qsize() else None

    def _take(self, at_most: int) -> None:
        """Collect waiting settlements.

        A shutdown may release an attempt that then ends by itself: its own outcome replaces the release.
        """
        for _ in range(at_most):
            try:
                end = self._queue.get_nowait()
            except Empty:
                return
            if end.lease.settled:
                continue
            token = end.lease.job.lease_token
            known = self._unwritten.get(token)
            if known is None or isinstance(known.outcome, Released):
                self._unwritten[token] = end

    def _write(self, ended: list[EndedAttempt]) -> None:
        try:
            written = self._store.settle_attempts([(end.lease.job, end.settlement) for end in ended])
        except StoreBusy:
            if len(ended) == 1:
                raise
            self._write_each(ended)
            return
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - if the database refuses one settlement, the others must be written
            self._isolate(ended, error)
            return
        for end in ended:
            self._conclude(end, written.get(end.lease.job.id))

    def _write_each(self, ended: list[EndedAttempt]) -> None:
        """Write one at a time, so that a locked row delays only its own settlement.

        The latest go first, and a settlement that met a lock becomes the last one next time. Raises StoreBusy.
        """
        for end in reversed(ended):
            try:
                self._write([end])
            except StoreBusy:
                self._unwritten = {end.lease.job.lease_token: end} | self._unwritten
                raise

    def _isolate(self, ended: list[EndedAttempt], error: Exception) -> None:
        """One settlement cannot be written. It must neither block the others nor stay open: it becomes a failure."""
        if len(ended) > 1:
            self._write_each(ended)
            return
        lease, outcome = ended[0].lease, ended[0].outcome
        self._events.emit("settlement.refused", **lease.job.tags, error=repr(error))
        if isinstance(outcome, Failed) and isinstance(outcome.error, InternalError):
            self._forget(lease)  # not even the failure can be written: the lease expires, and is reclaimed as a crash
            return
        problem = InternalError(f"The outcome could not be written: {type(error).__name__}")
        self._write([self._decide(lease, Failed(problem))])

    def _decide(self, lease: Lease, outcome: Outcome) -> EndedAttempt:
        spread = random.random()  # noqa: S311 - jitter, not a secret
        after = lease.elapsed()
        return EndedAttempt(
            lease, outcome, settle(lease.job, outcome, self._policy, elapsed=after, spread=spread), after
        )

    def _forget(self, lease: Lease) -> None:
        lease.settled = True
        self._unwritten.pop(lease.job.lease_token, None)
        self._leases.remove(lease)

    def _conclude(self, end: EndedAttempt, status: str | None) -> None:
        self._forget(end.lease)
        job, settlement, elapsed = end.lease.job, end.settlement, end.lease.elapsed()
        if status is None:
            # The lease expired, and another attempt has the job now: its outcome counts.
            self._events.emit("lease.lost", **job.tags)
            return
        if settlement.delay is not None and status == settlement.status:
            self._due_in(settlement.delay)
        self._events.emit(
            "attempt.settled",
            **job.tags,
            kind=job.kind,
            provider=job.provider,
            outcome=settlement.outcome,
            status=status,
            cost=job.cost,
            seconds=elapsed,
            settling=elapsed - end.after,
            age=job.age + elapsed,
            delay=settlement.delay,
            error_code=settlement.error_code,
            error_message=settlement.error_message,
        )
