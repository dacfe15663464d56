"""Claims as many jobs as there are idle threads, and hands them to the pool.

``Poller`` decides when to claim and how many, ``Claimer`` runs the claim and isolates jobs over which it fails, and
``Promoter`` makes delayed jobs pending when they are due.
"""

import time
from collections.abc import Callable, Mapping

from generation_worker.domain.gate import WINDOW
from generation_worker.domain.job import LANE_START, NO_PROVIDER, ClaimCursor, Job
from generation_worker.events import Events
from generation_worker.ports import Claim, Store, StoreUnavailable
from generation_worker.worker.lease import Clock, Lease, LeaseBook
from generation_worker.worker.loop import Loop
from generation_worker.worker.pool import ThreadPool
from generation_worker.worker.settings import WorkerOptions

GATHER = 0.002
"""Seconds to let more threads finish while few are idle and jobs wait: one claim of many jobs costs far less than many
claims of one, and a job lasts thousands of times longer."""
GATHER_STEPS = 4
UNWRITTEN = 500
"""The number of leases beyond the threads' own that may wait for their settlement before claiming pauses."""
MARKS_KEPT = 0.5
"""Seconds after which the low-water marks are reset: the longest wait of a job that was inserted before its mark."""
SHORTEST_REST = 0.05
"""Seconds between two claims while a gate is about to open: permits that become free in between are taken together."""
MOVE_BATCH = 500


class Poller:
    """Polling finds every job. Waking the poller only makes it faster."""

    def __init__(
        self,
        store: Store,
        settings: WorkerOptions,
        pool: ThreadPool,
        leases: LeaseBook,
        events: Events,
        *,
        may_claim: Callable[[], bool],
        listening: Callable[[], bool],
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._pool = pool
        self._leases = leases
        self._events = events
        self._may_claim = may_claim
        self._listening = listening
        self._clock = clock
        self._claimer = Claimer(store, settings, events, clock=clock)
        self._promoter = Promoter(store, events, clock=clock)
        self._low_water_marks = dict.fromkeys((*settings.providers, NO_PROVIDER), LANE_START)
        self._marks_valid_until = clock()
        self.poll_interval = settings.poll_interval
        """Seconds; may be changed at any time."""
        self._asleep = False
        self._more = False
        self.empty = False
        """Whether the last claim started no job and refused none."""
        self.loop = Loop("poller", self.step, events)

    def job_finished(self) -> None:
        """A thread is idle again, or its settlement is written. Worth a claim only if more jobs wait."""
        if self._more:
            self.loop.wake()

    def due_in(self, seconds: float) -> None:
        """A job of this worker will be due then: do not sleep longer than that."""
        if self._promoter.due_in(seconds):
            self.loop.wake()

    def check_now(self) -> None:
        """There may be new work at any place of a lane."""
        self._marks_valid_until = self._clock()
        self._promoter.check_now()
        self.loop.wake()

    def step(self) -> float | None:
        """Promote, claim, and hand the jobs over. Returns the seconds until the next step."""
        if not self._may_claim():
            return self.poll_interval
        self._promoter.promote(check_again_in=self._interval)
        slots = self._slots()
        if slots == 0:
            self._more = True  # jobs that were enqueued before this did not wake the poller
            return 0 if self._free_slots() else self.poll_interval
        claim = self._claim(slots)
        self._more = len(claim.jobs) == slots or bool(claim.refused)  # behind a refused job there may be others
        self.empty = not claim.jobs and not claim.refused and not _opens_soon(claim.opens_in)
        if claim.all_breakers_open and self._store.move_jobs(limit=MOVE_BATCH):
            self._marks_valid_until = self._clock()  # in the other lane they may be at any place
            self._more = True
        if self._more:
            self._set_asleep(False)
            return 0
        if claim.opens_in is not None:
            self._set_asleep(False)
            return min(self.poll_interval, max(claim.opens_in, SHORTEST_REST), self._promoter.seconds_to_next_check)
        return self._rest(found=bool(claim.jobs))

    def _slots(self) -> int:
        """The number of jobs to claim."""
        if self._more:
            self._gather()
        return self._free_slots()

    def _free_slots(self) -> int:
        """The number of idle threads, or 0 while so many settlements are unwritten that more would only pile up."""
        return self._pool.idle if len(self._leases) < self._pool.size + UNWRITTEN else 0

    def _gather(self) -> None:
        """Let threads finish that are about to."""
        for _ in range(GATHER_STEPS):
            if self._pool.idle >= self._pool.size / 2:
                return
            time.sleep(GATHER / GATHER_STEPS)

    def _claim(self, slots: int) -> Claim:
        now = self._clock()
        if now >= self._marks_valid_until:
            self._low_water_marks = dict.fromkeys(self._low_water_marks, LANE_START)
            self._marks_valid_until = now + MARKS_KEPT
        settings = self._settings
        claim = self._claimer.claim(self._low_water_marks, slots)
        for job in claim.jobs:
            lease = Lease(job, claimed_at=now, duration=settings.lease, timeout=settings.timeout, clock=self._clock)
            self._leases.add(lease)
            self._pool.submit(lease)
        for refusal in claim.refused:
            self._events.emit(
                "job.refused",
                job=refusal.id,
                user=refusal.user_id,
                trace_id=refusal.trace_id,
                traceparent=refusal.traceparent,
                age=refusal.age,
                error_code="insufficient_credits",
            )
        self._advance_marks(claim.jobs, full=len(claim.jobs) == slots or claim.opens_in is not None)
        return claim

    def _advance_marks(self, jobs: list[Job], *, full: bool) -> None:
        """After a full claim the next one begins where it ended; a short one has read every lane to its end."""
        if not full:
            self._marks_valid_until = self._clock()
            return
        for job in jobs:
            self._low_water_marks[job.provider] = max(self._low_water_marks[job.provider], job.cursor)

    def _rest(self, *, found: bool) -> float:
        """Seconds until the next step: long only while a notification would wake the poller, never past a due job."""
        if not self._listening():
            return min(self.poll_interval, self._promoter.seconds_to_next_check)
        if found or self._set_asleep(True):
            return 0  # jobs that were enqueued before the worker fell asleep did not notify it: claim once more
        return min(self._interval, self._promoter.seconds_to_next_check)

    @property
    def _interval(self) -> float:
        """Long only while enqueueing knows that this worker sleeps, and can wake it."""
        asleep = self._asleep and self._listening()
        return max(self._settings.idle_poll_interval, self.poll_interval) if asleep else self.poll_interval

    def _set_asleep(self, asleep: bool) -> bool:
        """Record whether enqueueing has to notify this worker; whether that has changed."""
        if asleep == self._asleep:
            return False
        self._store.set_asleep(self._settings.id, asleep=asleep)
        self._asleep = asleep
        return True


def _opens_soon(opens_in: float | None) -> bool:
    """Whether a gate opens within the minute that it counts. ``--until-empty`` waits for that, and not longer."""
    return opens_in is not None and opens_in <= WINDOW


LEFT_OUT = 60.0
"""Seconds for which this worker's claims leave out a job over which a claim failed: its row may be repaired by then."""
NO_JOB = "00000000-0000-0000-0000-000000000000"
"""The id of no job. If a claim of it fails too, the cause is not a job."""

LowWaterMarks = Mapping[str, ClaimCursor]
"""Lane → the first row that a claim reads."""


class Claimer:
    """Runs the claim. If it fails, it finds the jobs that cause this, so that one bad row does not stop a fleet.

    The failing job itself is not changed: the fault may lie elsewhere.
    """

    def __init__(self, store: Store, settings: WorkerOptions, events: Events, *, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._clock = clock
        self._left_out_until: dict[str, float] = {}

    def claim(self, low_water_marks: LowWaterMarks, slots: int) -> Claim:
        """Claim up to ``slots`` jobs, without those that cannot be claimed.

        Raises StoreUnavailable, and the database's error if no job is the cause.
        """
        try:
            return self._claim(low_water_marks, slots)
        except StoreUnavailable:
            raise
        except Exception:
            if not self._leave_out_failing_jobs(low_water_marks, slots):
                raise
        return self._claim(low_water_marks, slots)

    def _claim(self, low_water_marks: LowWaterMarks, slots: int, *, rehearse: str | None = None) -> Claim:
        settings = self._settings
        return self._store.claim_jobs(
            settings.id,
            low_water_marks,
            keys=settings.keys,
            slots=slots,
            lease=settings.lease,
            max_attempts=settings.max_attempts,
            left_out=self._left_out(),
            rehearse=rehearse,
        )

    def _left_out(self) -> list[str]:
        now = self._clock()
        self._left_out_until = {job_id: until for job_id, until in self._left_out_until.items() if until > now}
        return list(self._left_out_until)

    def _leave_out_failing_jobs(self, low_water_marks: LowWaterMarks, slots: int) -> bool:
        """Rehearse the claim of each job alone, and leave out those for which it fails; whether there are any."""
        if self._error_of(low_water_marks, NO_JOB) is not None:
            return False
        suspects = self._store.find_suspects(low_water_marks, limit=slots, left_out=self._left_out())
        failing = [(job, error) for job in suspects if (error := self._error_of(low_water_marks, job.id)) is not None]
        for job, error in failing:
            self._left_out_until[job.id] = self._clock() + LEFT_OUT
            self._events.emit("job.unclaimable", job=job.id, trace_id=job.trace_id, error=_first_line(error))
        return bool(failing)

    def _error_of(self, low_water_marks: LowWaterMarks, job_id: str) -> Exception | None:
        """The error of a claim of this job alone."""
        try:
            self._claim(low_water_marks, 1, rehearse=job_id)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the other jobs
            return error
        return None


def _first_line(error: Exception) -> str:
    """Without the details of a database's error: they may contain the row."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:500]


PROMOTE_BATCH = 500


class Promoter:
    """Makes delayed jobs pending when they are due. It queries the database only when one may be due."""

    def __init__(self, store: Store, events: Events, *, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._next_check = clock()

    def due_in(self, seconds: float) -> bool:
        """A job of this worker will be due then. Returns whether that is sooner than the next check."""
        at = self._clock() + seconds
        sooner = at < self._next_check
        if sooner:
            self._next_check = at
        return sooner

    def check_now(self) -> None:
        """Something has changed: the known due time may be too late."""
        self._next_check = self._clock()

    @property
    def seconds_to_next_check(self) -> float:
        return max(0.0, self._next_check - self._clock())

    def promote(self, *, check_again_in: float) -> int:
        """Promote due jobs; returns how many became pending.

        ``check_again_in`` is the number of seconds until the next query if no due job is known by then.
        """
        if self._clock() < self._next_check:
            return 0
        self._next_check = self._clock() + check_again_in  # before the statement: due_in may be called while it runs
        try:
            promotion = self._store.promote_jobs(limit=PROMOTE_BATCH)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - pending jobs can be claimed all the same
            self._events.emit("promotion.failed", exc_info=error)
            return 0
        if promotion.next_due is not None:
            self.due_in(max(promotion.next_due, 0.0))
        if promotion.promoted:
            self._events.emit("jobs.promoted", number=promotion.promoted)
        if promotion.promoted == PROMOTE_BATCH:
            self.check_now()
        return promotion.promoted
