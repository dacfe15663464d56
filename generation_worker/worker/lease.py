"""Leases: an attempt's right to work on a job until a time, and the heartbeat that renews them.

All times are ``monotonic`` seconds, and a lease is counted from before the claim was sent: the database's own count,
which decides, began later.
"""

import threading
import time
from collections.abc import Callable

from generation_worker.domain.errors import AttemptStopped, AttemptTimedOut, CancelRequested, LeaseLost, ShuttingDown
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import FleetState, Renewal, Store
from generation_worker.worker.loop import Loop
from generation_worker.worker.settings import WorkerOptions

Clock = Callable[[], float]

PROVED_FOR = 0.75
"""The part of a lease for which a proof counts. The rest is a margin for clocks, networks and pauses of the process."""


class Lease:
    """One attempt's lease. The attempt checks it before each step; heartbeat and shutdown end it from other threads."""

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
        """Return if the attempt may continue. Raises AttemptStopped or AttemptTimedOut.

        Without ``proof`` it may also continue while the database does not answer: for a call that is paid already.
        """
        if self._stopped_by is not None:
            raise self._stopped_by
        if self._clock() >= self.deadline:
            raise AttemptTimedOut
        if proof and not self._is_proved():
            raise LeaseLost("The lease cannot be proved any more.")

    def pause(self, seconds: float, *, proof: bool = True, enough: Callable[[], bool] = lambda: False) -> None:
        """Sleep for ``seconds``, or until ``enough`` returns true.

        ``enough`` is called at the beginning and after each ``wake``. Raises as ``check`` does, as soon as the attempt
        may not continue.
        """
        self._interrupted = self._interrupted or threading.Event()
        until = self._clock() + seconds
        self.check(proof=proof)  # after the event exists: a thread that stops or wakes the attempt from here on sets it
        while not enough() and (left := min(until, self.deadline) - self._clock()) > 0:
            self._interrupted.wait(min(left, self.duration / 8))
            self._interrupted.clear()  # before its reason is checked, so that a later one is not lost
            self.check(proof=proof)
        self.check(proof=proof)

    def wake(self) -> None:
        """Make a pause call its ``enough`` now."""
        if self._interrupted is not None:
            self._interrupted.set()

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - self._clock())

    def elapsed(self) -> float:
        """Seconds since the claim."""
        return self._clock() - self.claimed_at

    def prove(self, at: float) -> None:
        """The database confirmed the lease, in answer to a statement that was sent at ``at``."""
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
        """Whether the attempt should have ended ``grace`` seconds ago, so that its thread is stuck."""
        return self._clock() > self.deadline + grace

    def _is_proved(self) -> bool:
        return self._clock() - self.proved_at <= self.duration * PROVED_FOR

    def _stop(self, reason: type[AttemptStopped]) -> None:
        if self._stopped_by is None or reason is LeaseLost:
            self._stopped_by = reason
        self.wake()


class LeaseBook:
    """The leases of this worker, from the claim until the settlement is written."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Lease) -> None:
        self._leases[lease.job.id] = lease

    def remove(self, lease: Lease) -> None:
        """Remove this lease; a newer lease of the same job stays."""
        if self._leases.get(lease.job.id) is lease:
            self._leases.pop(lease.job.id, None)

    def all(self) -> list[Lease]:
        return list(self._leases.values())


BEATS_PER_LEASE = 4
STATEMENTS_PER_BEAT = 2
"""One renews the leases, the other one records that the worker lives."""


class Heartbeat:
    """Renews all leases with one statement, and reads cancellations and the settings of the fleet.

    It has a database connection of its own, so that a busy pool does not cost a lease.
    """

    def __init__(
        self,
        store: Store,
        leases: LeaseBook,
        events: Events,
        *,
        settings: WorkerOptions,
        touch: Callable[[], FleetState | None],
        follow: Callable[[FleetState], None],
        clock: Clock = time.monotonic,
    ) -> None:
        """``touch`` records that the worker lives and returns the fleet's state if it is new, for ``follow``."""
        self._store = store
        self._leases = leases
        self._settings = settings
        self._touch = touch
        self._follow = follow
        self._clock = clock
        self._proved_at = clock()
        self.loop = Loop("heartbeat", self.step, events, longest_pause=settings.lease / BEATS_PER_LEASE)

    @property
    def proved(self) -> bool:
        """Whether this worker could prove a lease now. Otherwise it must not claim."""
        return self._clock() - self._proved_at <= self._settings.lease * PROVED_FOR

    def step(self) -> float:
        sent_at = self._clock()
        self._renew(self._leases.all(), sent_at)
        state = self._touch()
        self._proved_at = sent_at
        if state is not None:
            self._follow(state)
        return self._settings.lease / BEATS_PER_LEASE

    def _renew(self, leases: list[Lease], sent_at: float) -> None:
        if not leases:
            return
        renewals = self._store.renew_leases(
            [(lease.job.id, lease.job.lease_token) for lease in leases],
            lease=self._settings.lease,
            timeout=self._settings.timeout,
            grace=self._settings.overtime,
        )
        for lease in leases:
            self._apply(renewals.get(lease.job.id), lease, sent_at)

    def _apply(self, renewal: Renewal | None, lease: Lease, sent_at: float) -> None:
        if renewal is None:
            # Another worker has the job, or it was settled after the list of leases was read.
            lease.lose()
            self._leases.remove(lease)
            return
        if renewal.renewed:
            lease.prove(sent_at)
        if renewal.cancel_requested:
            lease.cancel()
