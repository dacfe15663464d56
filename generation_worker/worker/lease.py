"""The right to work on a job until a time, as the attempt sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from generation_worker.domain.errors import AttemptStopped, AttemptTimedOut, CancelRequested, LeaseLost, ShuttingDown
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import FleetState, Renewal, Store
from generation_worker.worker.loop import Loop
from generation_worker.worker.settings import WorkerSettings

Clock = Callable[[], float]

PROVED_FOR = 0.75
"""The part of a lease for which a proof is believed. The rest is for clocks, networks and pauses of the process."""


class Lease:
    """One attempt's lease. The attempt asks it whether to go on; heartbeat and shutdown tell it that it may not.

    All times are ``monotonic`` seconds, and the lease is counted from before the claim was sent: the database's own
    count, which decides, began later.
    """

    __slots__ = (
        "_clock",
        "_interrupted",
        "_stopped_by",
        "claimed_at",
        "deadline",
        "duration",
        "job",
        "proved_at",
        "settled",
    )

    def __init__(
        self,
        job: Job,
        *,
        claimed_at: float,
        duration: float,
        timeout: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self.job = job
        self.claimed_at = claimed_at
        self.proved_at = claimed_at
        self.duration = duration
        self.deadline = claimed_at + min(timeout, max(job.seconds_left, 0.0))
        self.settled = False
        self._clock = clock
        self._stopped_by: type[AttemptStopped] | None = None
        self._interrupted: threading.Event | None = None

    def check(self, *, proof: bool = True) -> None:
        """Return if the attempt may go on. Raises AttemptStopped or AttemptTimedOut.

        Without ``proof`` it may also while the database is silent: for what is paid already, and would be paid again.
        """
        if self._stopped_by is not None:
            raise self._stopped_by
        if self._clock() >= self.deadline:
            raise AttemptTimedOut
        if proof and not self._is_proved():
            raise LeaseLost("The lease cannot be proved any more.")

    def pause(self, seconds: float, *, proof: bool = True, enough: Callable[[], bool] = lambda: False) -> None:
        """Sleep for ``seconds``, or until the attempt may not go on. Raises as ``check`` does.

        Also until ``enough``, which is asked at the beginning and after each ``rouse``.
        """
        self._interrupted = self._interrupted or threading.Event()
        until = self._clock() + seconds
        self.check(proof=proof)  # after the event is there: whoever stops or rouses the attempt from here on sets it
        while not enough() and (left := min(until, self.deadline) - self._clock()) > 0:
            self._interrupted.wait(min(left, self.duration / 8))
            self._interrupted.clear()  # before what it was set for is looked at: what is set from here on is not lost
            self.check(proof=proof)
        self.check(proof=proof)

    def rouse(self) -> None:
        """A pause that waits for more than time has to look whether it is enough."""
        if self._interrupted is not None:
            self._interrupted.set()

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - self._clock())

    def elapsed(self) -> float:
        """Seconds since the claim."""
        return self._clock() - self.claimed_at

    def prove(self, at: float) -> None:
        """The database said, to a question sent at ``at``, that the lease holds."""
        self.proved_at = max(self.proved_at, at)

    def cancel(self) -> None:
        self._stop(CancelRequested)

    def lose(self) -> None:
        self._stop(LeaseLost)

    def release(self) -> None:
        self._stop(ShuttingDown)

    @property
    def lost(self) -> bool:
        return self._stopped_by is LeaseLost

    def overdue(self, grace: float) -> bool:
        """The attempt should have ended ``grace`` seconds ago: its thread is stuck."""
        return self._clock() > self.deadline + grace

    def _is_proved(self) -> bool:
        return self._clock() - self.proved_at <= self.duration * PROVED_FOR

    def _stop(self, reason: type[AttemptStopped]) -> None:
        if self._stopped_by is None or reason is LeaseLost:
            self._stopped_by = reason
        self.rouse()


class LeaseBook:
    """The leases this worker holds, from the claim until the settlement is written."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Lease) -> None:
        self._leases[lease.job.id] = lease

    def remove(self, lease: Lease) -> None:
        """Forget this lease; a newer lease of the same job stays."""
        if self._leases.get(lease.job.id) is lease:
            self._leases.pop(lease.job.id, None)

    def all(self) -> list[Lease]:
        return list(self._leases.values())


# Proves that this worker lives: one statement renews every lease it holds and brings back who is to be cancelled.


BEATS_PER_LEASE = 4
STATEMENTS_PER_BEAT = 2
"""The leases are renewed, and the worker says that it lives."""


class Heartbeat:
    """Beats on a connection of its own: a busy pool must not cost a lease. It brings what the fleet is to follow."""

    def __init__(
        self,
        store: Store,
        leases: LeaseBook,
        events: Events,
        *,
        settings: WorkerSettings,
        touch: Callable[[], FleetState | None],
        follow: Callable[[FleetState], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._leases = leases
        self._events = events
        self._settings = settings
        self._touch = touch
        self._follow = follow
        self._clock = clock
        self._proved_at = clock()
        self.loop = Loop("heartbeat", self.step, events, longest_pause=settings.lease / BEATS_PER_LEASE)

    @property
    def proved(self) -> bool:
        """Whether this worker could prove a lease now. Without that it must not claim."""
        return self._clock() - self._proved_at <= self._settings.lease * PROVED_FOR

    def step(self) -> float:
        sent_at = self._clock()
        held = self._leases.all()
        self._renew(held, sent_at)
        news = self._touch()
        self._proved_at = sent_at
        if news is not None:
            self._follow(news)
        return self._settings.lease / BEATS_PER_LEASE

    def _renew(self, held: list[Lease], sent_at: float) -> None:
        if not held:
            return
        renewed = self._store.renew_leases(
            [(lease.job.id, lease.job.lease_token) for lease in held],
            lease=self._settings.lease,
            timeout=self._settings.timeout,
            grace=self._settings.overtime,
        )
        for lease in held:
            self._told(lease, renewed.get(lease.job.id), sent_at)

    def _told(self, lease: Lease, renewal: Renewal | None, sent_at: float) -> None:
        if renewal is None:
            self._lost(lease)
            return
        if renewal.renewed:
            lease.prove(sent_at)
        if renewal.cancel_requested:
            lease.cancel()

    def _lost(self, lease: Lease) -> None:
        """Somebody else has the job, or it was settled between our look at the book and the statement."""
        lease.lose()
        self._leases.remove(lease)
