"""Claims as many jobs as there are idle threads, and hands them over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from generation_worker.domain.gate import WINDOW
from generation_worker.domain.job import LANE_START, NO_PROVIDER, ClaimCursor, Job
from generation_worker.events import Events
from generation_worker.ports import Claim, Store, StoreUnavailable
from generation_worker.worker.lease import Clock, Lease, LeaseBook
from generation_worker.worker.loop import Loop
from generation_worker.worker.pool import Pool
from generation_worker.worker.settings import WorkerSettings

# Sends the claim, and finds out over which jobs it fails: one row that cannot be worked on must not stop a fleet.


LEFT_OUT = 60.0
"""Seconds for which a job over which a claim failed is left out of this worker's claims: then it may be put right."""
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The id of no job. A claim that fails for it too fails for another reason than a job."""

Marks = Mapping[str, ClaimCursor]


class Claimer:
    """Nothing of a job is changed because a claim failed over it: the fault may be anybody's."""

    def __init__(
        self, store: Store, settings: WorkerSettings, events: Events, *, clock: Clock = time.monotonic
    ) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._clock = clock
        self._until: dict[str, float] = {}

    def claim(self, marks: Marks, slots: int) -> Claim:
        """Up to ``slots`` jobs, without those that cannot be claimed. Raises what the database says if it is no job's
        fault.
        """
        try:
            return self._ask(marks, slots)
        except StoreUnavailable:
            raise
        except Exception:
            if not self._leave_out_the_culprits(marks, slots):
                raise
        return self._ask(marks, slots)

    def _ask(self, marks: Marks, slots: int, *, rehearse: str | None = None) -> Claim:
        settings = self._settings
        return self._store.claim_jobs(
            settings.id,
            marks,
            keys=settings.keys,
            slots=slots,
            lease=settings.lease,
            max_attempts=settings.max_attempts,
            left_out=self._left_out(),
            rehearse=rehearse,
        )

    def _left_out(self) -> list[str]:
        now = self._clock()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return list(self._until)

    def _leave_out_the_culprits(self, marks: Marks, slots: int) -> bool:
        """Whether there are any."""
        if self._fault(marks, NOBODY) is not None:
            return False
        suspects = self._store.find_suspects(marks, limit=slots, left_out=self._left_out())
        faults = [(job, fault) for job in suspects if (fault := self._fault(marks, job.id)) is not None]
        for job, fault in faults:
            self._until[job.id] = self._clock() + LEFT_OUT
            self._events.emit("job.unclaimable", job=job.id, trace_id=job.trace_id, error=_in_a_line(fault))
        return bool(faults)

    def _fault(self, marks: Marks, job_id: str) -> Exception | None:
        """What a claim of this job alone fails with."""
        try:
            self._ask(marks, 1, rehearse=job_id)
        except StoreUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it must not stop the others
            return fault
        return None


def _in_a_line(fault: Exception) -> str:
    """Without the details of a database's error: they may show the row."""
    return f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}"[:500]


# Makes jobs pending when their time has come, and knows when the next one is due.


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


GATHER = 0.002
"""Seconds to let more threads finish while few are idle and work waits: one claim for many costs far less than many
claims for one, and a job lasts thousands of times longer."""
UNWRITTEN = 500
"""How many leases beyond the threads' own may wait for their settlement before claiming pauses."""
GATHER_STEPS = 4
MARKS_KEPT = 0.5
"""Seconds after which the low-water marks are forgotten: the longest that a job which came in before the mark waits."""


SHORTEST_REST = 0.05
"""Seconds between two looks at a gate that is about to open: what opens in between is let in together."""
MOVED_AT_ONCE = 500


class Poller:
    """Polling is the truth; being woken is a hint that makes it quick."""

    def __init__(
        self,
        store: Store,
        settings: WorkerSettings,
        pool: Pool,
        leases: LeaseBook,
        promoter: Promoter,
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
        self._promoter = promoter
        self._events = events
        self._may_claim = may_claim
        self._listening = listening
        self._clock = clock
        self._claimer = Claimer(store, settings, events, clock=clock)
        self._marks = dict.fromkeys((*settings.providers, NO_PROVIDER), LANE_START)
        self._marks_until = clock()
        self.poll_interval = settings.poll_interval
        """Seconds; may be changed at any time."""
        self._asleep = False
        self._more = False
        self.empty = False
        """Whether the last claim found nothing to start and nothing to refuse."""
        self.loop = Loop("poller", self.step, events)

    def job_finished(self) -> None:
        """A thread is idle again, or its settlement is written. Worth a claim only if there is more to take."""
        if self._more:
            self.loop.wake()

    def due_in(self, seconds: float) -> None:
        """A job of ours will be due then: rest no longer than that."""
        if self._promoter.due_in(seconds):
            self.loop.wake()

    def look_now(self) -> None:
        """There may be new work anywhere in the line."""
        self._marks_until = self._clock()
        self._promoter.look_now()
        self.loop.wake()

    def step(self) -> float | None:
        """Promote, claim, hand over. Returns when to look again."""
        if not self._may_claim():
            return self.poll_interval
        self._promoter.promote(look_again=self._interval)
        slots = self._slots()
        if slots == 0:
            self._more = True  # and look again: who came before this did not wake us
            return 0 if self._room() else self.poll_interval
        claim = self._claim(slots)
        self._more = len(claim.jobs) == slots or bool(claim.refused)  # whoever stands behind a refused job comes next
        self.empty = not claim.jobs and not claim.refused and not _soon(claim.opens_in)
        if claim.broken and self._store.move_jobs(limit=MOVED_AT_ONCE):
            self._marks_until = self._clock()  # they may stand anywhere in the other line
            self._more = True
        if self._more:
            self._fall_asleep(False)
            return 0
        if claim.opens_in is not None:
            self._fall_asleep(False)
            return min(self.poll_interval, max(claim.opens_in, SHORTEST_REST), self._promoter.seconds_to_next_look)
        return self._rest(found=bool(claim.jobs))

    def _slots(self) -> int:
        """How many jobs to claim."""
        if self._more:
            self._gather()
        return self._room()

    def _room(self) -> int:
        """Idle threads, unless so many settlements are unwritten that claiming more would only pile them up."""
        return self._pool.idle if len(self._leases) < self._pool.size + UNWRITTEN else 0

    def _gather(self) -> None:
        """Let threads that are about to finish do so."""
        for _ in range(GATHER_STEPS):
            if self._pool.idle >= self._pool.size / 2:
                return
            time.sleep(GATHER / GATHER_STEPS)

    def _claim(self, slots: int) -> Claim:
        now = self._clock()
        if now >= self._marks_until:
            self._marks = dict.fromkeys(self._marks, LANE_START)
            self._marks_until = now + MARKS_KEPT
        settings = self._settings
        claim = self._claimer.claim(self._marks, slots)
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
        self._advance(claim.jobs, full=len(claim.jobs) == slots or claim.opens_in is not None)
        return claim

    def _advance(self, jobs: list[Job], *, full: bool) -> None:
        """A full claim lets the next one begin where it ended; a short one has seen the end of every line."""
        if not full:
            self._marks_until = self._clock()
            return
        for job in jobs:
            self._marks[job.provider] = max(self._marks[job.provider], job.cursor)

    def _rest(self, *, found: bool) -> float:
        """Seconds until the next look. Slowly only while a notification would wake us, and never past a due job."""
        if not self._listening():
            return min(self.poll_interval, self._promoter.seconds_to_next_look)
        if found or self._fall_asleep(True):
            return 0  # what was enqueued before we fell asleep did not notify: look once more
        return min(self._interval, self._promoter.seconds_to_next_look)

    @property
    def _interval(self) -> float:
        """Long only while enqueue knows that we sleep, and can wake us."""
        asleep = self._asleep and self._listening()
        return max(self._settings.idle_poll_interval, self.poll_interval) if asleep else self.poll_interval

    def _fall_asleep(self, asleep: bool) -> bool:
        """Tell enqueue whether to notify; whether that was news."""
        if asleep == self._asleep:
            return False
        self._store.set_asleep(self._settings.id, asleep=asleep)
        self._asleep = asleep
        return True


def _soon(opens_in: float | None) -> bool:
    """A gate opens within the minute that it counts. ``--until-empty`` waits for that, not longer."""
    return opens_in is not None and opens_in <= WINDOW
