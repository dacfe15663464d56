"""Starts a worker, watches over it, and says how it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from generation_worker.domain.fleet import EVERYTHING
from generation_worker.domain.settlement import Released
from generation_worker.ports import StoreUnavailable
from generation_worker.worker.settings import Ending, WorkerSettings
from generation_worker.worker.signals import Inbox
from generation_worker.worker.worker import Worker, WorkerDependencies

# Ends a worker in good order: claim nothing more, finish what runs, give back what does not finish, write it all.


STEP = 0.01
LET_GO = 1.0
"""Seconds in which an attempt that is told to let go may do so itself."""
SETTLE_FLUSH_TIMEOUT = 5.0
"""Seconds for the last settlements to be written."""
LAST_POST = 2.0
"""Seconds for telling of them, where somebody waits for the end; what is not told then, the next worker tells."""


def shut_down(worker: Worker, ending: Ending, *, hurry: Callable[[], bool]) -> None:
    """Stop the worker. Once ``hurry`` is true the grace is over: what runs is given back at once."""
    worker.events.emit("worker.draining", worker=worker.settings.id, reason=ending.value, busy=worker.pool.busy)
    worker.maintenance.loop.stop()
    if worker.sweeping:
        worker.sweeping.loop.stop()
    worker.poller.loop.stop()
    worker.poller.loop.join(SETTLE_FLUSH_TIMEOUT)
    if ending is not Ending.BROKEN:
        _finish_what_runs(worker, hurry)
    _give_back_what_runs(worker)
    _write_what_ended(worker)
    _tell_of_it(worker, ending)
    worker.heartbeat.loop.stop()
    worker.settler.loop.stop()
    worker.settler.loop.join(
        SETTLE_FLUSH_TIMEOUT
    )  # a statement that is under way must not be cut off by the end of the process
    worker.listener.close()
    worker.pool.stop()
    _say_goodbye(worker)
    worker.events.emit("worker.stopped", worker=worker.settings.id, reason=ending.value)


def _finish_what_runs(worker: Worker, hurry: Callable[[], bool]) -> None:
    until = time.monotonic() + worker.settings.grace
    while _somebody_works(worker) and time.monotonic() < until and not hurry():
        time.sleep(STEP)


def _give_back_what_runs(worker: Worker) -> None:
    """First the threads are asked, then it is done over their heads, which the fence makes harmless. Not with what has
    outlived its time: a job that hangs must not come back as if nothing had been.
    """
    for lease in worker.leases.all():
        lease.release()
    until = time.monotonic() + LET_GO
    while _somebody_works(worker) and time.monotonic() < until:
        time.sleep(STEP)
    for lease in worker.pool.running():
        if not lease.lost and not lease.overdue(0):
            worker.settler.put(lease, Released())


def _write_what_ended(worker: Worker) -> None:
    until = time.monotonic() + SETTLE_FLUSH_TIMEOUT
    while worker.settler.waiting and time.monotonic() < until:
        time.sleep(STEP)


def _tell_of_it(worker: Worker, ending: Ending) -> None:
    """With nothing left to do, there is time for every message that is due."""
    if worker.courier is None:
        return
    if ending in (Ending.EMPTY, Ending.STOPPED):
        worker.courier.finish(within=worker.courier.longest if ending is Ending.EMPTY else LAST_POST)
    worker.courier.loop.stop()


def _somebody_works(worker: Worker) -> bool:
    return worker.pool.busy > len(worker.stuck())


def _say_goodbye(worker: Worker) -> None:
    try:
        worker.store.remove_worker(worker.settings.id)
    except StoreUnavailable:
        return  # the row is forgotten after a day


WATCH_EVERY = 0.05
WORKING = ("running", "paused")
"""Phases in which all loops must be there. A worker that is paused takes jobs as soon as it is resumed: it is ready."""


class Supervisor:
    """One worker, from its start to its end."""

    def __init__(self, settings: WorkerSettings, dependencies: WorkerDependencies) -> None:
        self.settings = settings
        self._stops = 0
        self._claiming = False
        self._started_at = time.monotonic()
        self.worker = Worker(settings, dependencies, may_claim=lambda: self._claiming)

    def start(self) -> None:
        """Make the worker known and begin to claim. Raises StoreUnavailable."""
        settings = self.settings
        self.worker.store.register_worker(settings.card)
        self._claiming = True
        self.worker.start()
        self.worker.events.emit("worker.started", worker=settings.id, concurrency=settings.concurrency)

    def request_stop(self) -> None:
        """Stop claiming and finish what runs; asked again, give back what runs at once.

        Safe in a signal handler: it only counts. A threading.Event could be held by the very thread that the signal
        interrupts, which would then wait for itself.
        """
        self._stops += 1

    def run(self, *, until_empty: bool = False) -> Ending:
        """Watch over the worker until it is to end, then stop it in good order."""
        ending = self._watch(until_empty=until_empty)
        self._stops = max(self._stops, 1)
        self._claiming = False
        shut_down(self.worker, ending, hurry=lambda: self._stops > 1)
        return ending

    def wake(self) -> None:
        """Look for work now, rather than at the next poll."""
        self.worker.poller.look_now()

    @property
    def inbox(self) -> Inbox:
        """Where webhooks of providers go."""
        return Inbox(self.worker.notices, self.worker.store)

    def report(self) -> dict[str, Any]:
        """How the worker is. Asks nobody: a serverless database may sleep."""
        worker, problems, phase = self.worker, self._problems(), self._phase()
        return {
            "status": "unhealthy" if problems else "healthy",
            "worker": phase,
            "problems": problems,
            "ready": not problems and phase in WORKING,
            "live": self._is_live(),
            "id": self.settings.id,
            "version": self.settings.version,
            "concurrency": worker.pool.size,
            "busy": worker.pool.busy,
            "stuck": len(worker.stuck()),
            "unwritten": worker.settler.waiting,
            "listening": worker.listener.live,
            "paused": [pause._asdict() for pause in worker.fleet.pauses],
            "disabled_endpoints": [endpoint._asdict() for endpoint in worker.fleet.disabled],
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
        }

    def _watch(self, *, until_empty: bool) -> Ending:
        reported: set[str] = set()
        while not self._stops:
            self._report_stuck(reported)
            if self._too_many_stuck():
                return Ending.STUCK
            if self._dead_loops():
                return Ending.BROKEN
            if until_empty and self.worker.at_rest():
                return Ending.EMPTY
            time.sleep(WATCH_EVERY)
        return Ending.STOPPED

    def _report_stuck(self, reported: set[str]) -> None:
        """A stuck thread never hides: it is told of once, and counted until it comes back."""
        for lease in self.worker.stuck():
            if lease.job.lease_token not in reported:
                reported.add(lease.job.lease_token)
                self.worker.events.emit("thread.stuck", **lease.job.tags, seconds=lease.elapsed())

    def _phase(self) -> str:
        if self._stops:
            return "draining"
        if not self._claiming:
            return "starting"
        return "paused" if any(pause.what == str(EVERYTHING) for pause in self.worker.fleet.pauses) else "running"

    def _is_live(self) -> bool:
        """Whether waiting can help; if not, only a restart does."""
        return not self._too_many_stuck() and not self._dead_loops()

    def _problems(self) -> list[str]:
        problems = [f"the {name} has ended" for name in self._dead_loops()]
        if not self.worker.heartbeat.proved:
            problems.append("the database does not answer: no lease can be proved, so nothing is claimed")
        if self._too_many_stuck():
            problems.append(f"{len(self.worker.stuck())} job threads are stuck")
        return problems

    def _too_many_stuck(self) -> bool:
        return len(self.worker.stuck()) >= min(self.settings.max_stuck, self.worker.pool.size)

    def _dead_loops(self) -> list[str]:
        return [loop.name for loop in self.worker.loops() if not loop.alive] if self._phase() in WORKING else []
