"""Builds the worker's parts, starts them in order, and stops them in order."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.outcome import Released
from generation_worker.domain.retry import RetryPolicy
from generation_worker.events import Events
from generation_worker.ports import Signals, Store, StoreUnavailable, WorkerCard
from generation_worker.worker.attempt import Work
from generation_worker.worker.heartbeat import BEATS_PER_LEASE, Heartbeat
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.listener import Listener
from generation_worker.worker.maintenance import Maintenance, Task
from generation_worker.worker.poller import Poller, PollerSettings
from generation_worker.worker.pool import Pool
from generation_worker.worker.promoter import Promoter
from generation_worker.worker.pruner import Pruner
from generation_worker.worker.reclaimer import Reclaimer
from generation_worker.worker.settler import Settler

WATCH_EVERY = 0.05
LAST_WORDS = 5.0
"""Seconds for the last settlements to be written after everything else has stopped."""
LET_GO = 1.0
"""Seconds in which an attempt that is told to let go may do so itself."""
OVERTIME = 10.0
"""Seconds that an attempt may take past its deadline before its thread counts as stuck and its lease runs out."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Times in seconds."""

    id: str
    version: str
    concurrency: int
    providers: tuple[str, ...]
    poll_interval: float = 1.0
    idle_poll_interval: float = 5.0
    lease: float = 60.0
    timeout: float = 600.0
    overtime: float = OVERTIME
    grace: float = 100.0
    max_attempts: int = 4
    max_stuck: int = 1
    retention: float = 0.0
    cleanup_interval: float = 3600.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)


class Ending(Enum):
    """Why a worker ended; the process turns it into its exit status."""

    STOPPED = "stopped"
    EMPTY = "empty"
    STUCK = "stuck"
    BROKEN = "broken"


class Supervisor:
    """One worker: a pool of threads and the loops around it."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        store: Store,
        heartbeat_store: Store,
        signals: Signals | None,
        work: Work,
        events: Events,
    ) -> None:
        self.settings = settings
        self.events = events
        self._store = store
        self._work = work
        self._leases = LeaseBook()
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._claiming = False
        self._started_at = time.monotonic()

        self.pool = Pool(settings.concurrency, self._attempt, finished=self._job_finished, failed=self._attempt_failed)
        promoter = Promoter(store, events, look_every=settings.poll_interval)
        self.settler = Settler(store, settings.policy, self._leases, events, due_in=promoter.due_in)
        self.heartbeat = Heartbeat(
            heartbeat_store,
            self._leases,
            events,
            lease=settings.lease,
            timeout=settings.timeout,
            grace=settings.overtime,
            touch=self._touch(heartbeat_store),
        )
        self.listener = Listener(signals, events, wake=self.look_now, cancel=self.heartbeat.loop.wake)
        self.poller = Poller(
            store,
            PollerSettings(
                worker=settings.id,
                lanes=(*settings.providers, NO_PROVIDER),
                poll_interval=settings.poll_interval,
                idle_poll_interval=settings.idle_poll_interval,
                lease=settings.lease,
                timeout=settings.timeout,
                max_attempts=settings.max_attempts,
            ),
            self.pool,
            self._leases,
            promoter,
            events,
            may_claim=lambda: self._claiming and self.heartbeat.proved,
            listening=lambda: self.listener.live,
        )
        self.maintenance = Maintenance(store, self._tasks(), events)

    def start(self) -> None:
        """Make the worker known and begin to claim. Raises StoreUnavailable."""
        settings = self.settings
        self._store.register_worker(WorkerCard(settings.id, settings.version, settings.providers, settings.concurrency))
        self.pool.start()
        for loop in (self.heartbeat.loop, self.settler.loop, self.maintenance.loop):
            loop.start()
        self._claiming = True
        self.listener.start()
        self.poller.loop.start()
        self.events.emit("worker.started", worker=settings.id, concurrency=settings.concurrency)

    def request_stop(self) -> None:
        """Stop claiming and finish what runs; asked again, release what runs at once. Safe in a signal handler."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def run(self, *, until_empty: bool = False) -> Ending:
        """Watch over the worker until it is to end, then stop it in good order."""
        ending = self._watch(until_empty=until_empty)
        self._shut_down(ending)
        return ending

    def look_now(self) -> None:
        """There may be new work: do not wait for the next poll."""
        self.poller.look_now()

    # while it runs

    def _job_finished(self) -> None:
        self.poller.job_finished()

    def _attempt(self, lease: Lease) -> None:
        self.events.emit(
            "attempt.started",
            job=lease.job.id,
            attempt=lease.job.attempt,
            user=lease.job.user_id,
            kind=lease.job.kind,
            provider=lease.job.provider,
        )
        self.settler.put(lease, self._work(lease))

    def _attempt_failed(self, lease: Lease, error: BaseException) -> None:
        """Something around the attempt broke. Nobody settles it: its lease runs out, and that counts as a crash."""
        self._leases.remove(lease)
        self.events.emit("attempt.broke", job=lease.job.id, user=lease.job.user_id, exc_info=error)

    def _watch(self, *, until_empty: bool) -> Ending:
        while not self._stop.wait(WATCH_EVERY):
            if len(self.stuck()) > self.settings.max_stuck:
                return Ending.STUCK
            if any(not loop.alive for loop in self._loops()):
                return Ending.BROKEN
            if until_empty and self._is_empty():
                return Ending.EMPTY
        return Ending.STOPPED

    def _is_empty(self) -> bool:
        """Nothing can be claimed, nothing runs, everything is written; looked at in the order in which work flows."""
        return self.poller.empty and self.pool.busy == 0 and self.settler.waiting == 0 and not len(self._leases)

    def stuck(self) -> list[Lease]:
        return self.pool.stuck(self.settings.overtime)

    def report(self) -> dict[str, Any]:
        """What ``/health`` shows. Asks nobody: a serverless database may sleep."""
        problems = self._problems()
        phase = "draining" if self._stop.is_set() else "running" if self._claiming else "starting"
        return {
            "status": "unhealthy" if problems else "healthy",
            "worker": phase,
            "problems": problems,
            "ready": not problems and phase == "running",
            "live": self._is_live(),
            "id": self.settings.id,
            "version": self.settings.version,
            "concurrency": self.settings.concurrency,
            "busy": self.pool.busy,
            "stuck": len(self.stuck()),
            "unwritten": self.settler.waiting,
            "listening": self.listener.live,
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
        }

    def _is_live(self) -> bool:
        """Whether waiting can help; if not, only a restart does."""
        loops_run = all(loop.alive for loop in self._loops()) or not self._claiming
        return loops_run and len(self.stuck()) <= self.settings.max_stuck

    def _problems(self) -> list[str]:
        checks = {
            "the database does not answer: no lease can be proved, nothing is claimed": not self.heartbeat.proved,
            f"{len(self.stuck())} job threads are stuck": len(self.stuck()) > self.settings.max_stuck,
            **{f"the {loop.name} has ended": not loop.alive for loop in self._loops() if self._claiming},
        }
        return [problem for problem, found in checks.items() if found]

    def _loops(self) -> list[Any]:
        return [self.heartbeat.loop, self.settler.loop, self.maintenance.loop, self.poller.loop]

    def _touch(self, store: Store) -> Any:
        def touch() -> None:
            store.touch_worker(
                self.settings.id,
                concurrency=self.settings.concurrency,
                busy=self.pool.busy,
                stuck=len(self.stuck()),
            )

        return touch

    def _tasks(self) -> list[Task]:
        settings = self.settings
        reclaimer = Reclaimer(self._store, self.settler, self.events, timeout=settings.timeout)
        pruner = Pruner(self._store, self.events, retention=settings.retention)
        beat = settings.lease / BEATS_PER_LEASE
        return [
            Task("reclaim", min(10.0, beat), reclaimer.reclaim),
            Task("expire", min(30.0, settings.lease / 2), pruner.expire),
            Task("prune", settings.cleanup_interval, pruner.prune),
        ]

    # the end

    def _shut_down(self, ending: Ending) -> None:
        self._stop.set()
        self.events.emit("worker.draining", worker=self.settings.id, reason=ending.value, busy=self.pool.busy)
        self._claiming = False
        self.maintenance.loop.stop()
        self.poller.loop.stop()
        self.poller.loop.join(LAST_WORDS)
        if ending in (Ending.STOPPED, Ending.EMPTY):
            self._finish_what_runs()
        self._release_what_runs()
        self._write_what_ended()
        self.heartbeat.loop.stop()
        self.settler.loop.stop()
        self.listener.close()
        self.pool.stop()
        self._say_goodbye()
        self.events.emit("worker.stopped", worker=self.settings.id, reason=ending.value)

    def _finish_what_runs(self) -> None:
        until = time.monotonic() + self.settings.grace
        while self.pool.busy > len(self.stuck()) and time.monotonic() < until:
            if self._hurry.wait(WATCH_EVERY):
                return

    def _release_what_runs(self) -> None:
        """Give back what is not finished: first the threads are asked, then it is done over their heads, which the
        fence makes harmless. Not what outlived its time: a job that hangs must not come back as if nothing had been.
        """
        for lease in self._leases.all():
            lease.release()
        until = time.monotonic() + LET_GO
        while self.pool.busy > len(self.stuck()) and time.monotonic() < until:
            time.sleep(WATCH_EVERY / 5)
        for lease in self.pool.running():
            if not lease.lost and not lease.overdue(0):
                self.settler.put(lease, Released())

    def _write_what_ended(self) -> None:
        until = time.monotonic() + LAST_WORDS
        while self.settler.waiting and time.monotonic() < until:
            time.sleep(WATCH_EVERY / 5)

    def _say_goodbye(self) -> None:
        try:
            self._store.remove_worker(self.settings.id)
        except StoreUnavailable:
            return  # the row is forgotten after a day
