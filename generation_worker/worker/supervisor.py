"""Starts a worker, watches it, reports its health, and shuts it down in order."""

import time
from collections.abc import Callable
from typing import Any

from generation_worker.domain.fleet import EVERYTHING
from generation_worker.domain.settlement import Released
from generation_worker.ports import StoreUnavailable
from generation_worker.worker.settings import Ending, WorkerOptions
from generation_worker.worker.signals import Inbox
from generation_worker.worker.worker import Worker, WorkerDependencies

WATCH_EVERY = 0.05
WORKING = ("running", "paused")
"""Phases in which all loops must run. A paused worker is ready, because it takes jobs as soon as it is resumed."""


class Supervisor:
    """One worker, from its start to its end."""

    def __init__(self, settings: WorkerOptions, dependencies: WorkerDependencies) -> None:
        self.settings = settings
        self._stops = 0
        self._started_at = time.monotonic()
        self.worker = Worker(settings, dependencies)

    def start(self) -> None:
        """Register the worker and begin to claim. Raises StoreUnavailable."""
        settings = self.settings
        self.worker.store.register_worker(settings.info)
        self.worker.claiming = True
        self.worker.start()
        self.worker.events.emit("worker.started", worker=settings.id, concurrency=settings.concurrency)

    def run(self, *, until_empty: bool = False) -> Ending:
        """Watch the worker until it has to end, then shut it down."""
        ending = self._watch(until_empty=until_empty)
        self._stops = max(self._stops, 1)
        self.worker.claiming = False
        shut_down(self.worker, ending, hurry=lambda: self._stops > 1)
        return ending

    def request_stop(self) -> None:
        """Stop claiming and finish the running jobs; the second call gives them back at once.

        Safe in a signal handler, because it only counts: the thread that the signal interrupts could hold the lock of a
        threading.Event, which the handler would then wait for.
        """
        self._stops += 1

    def wake(self) -> None:
        """Look for work now instead of at the next poll."""
        self.worker.poller.check_now()

    @property
    def inbox(self) -> Inbox:
        """Receives webhooks of providers."""
        return Inbox(self.worker.hints, self.worker.store)

    def report(self) -> dict[str, Any]:
        """The worker's health. It makes no query, because a serverless database may be asleep."""
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
        """Emit each stuck thread once. It is counted until it returns."""
        for lease in self.worker.stuck():
            if lease.job.lease_token not in reported:
                reported.add(lease.job.lease_token)
                self.worker.events.emit("thread.stuck", **lease.job.tags, seconds=lease.elapsed())

    def _phase(self) -> str:
        if self._stops:
            return "draining"
        if not self.worker.claiming:
            return "starting"
        return "paused" if any(pause.what == str(EVERYTHING) for pause in self.worker.fleet.pauses) else "running"

    def _is_live(self) -> bool:
        """False if only a restart helps."""
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


STEP = 0.01
RELEASE_TIMEOUT = 1.0
"""Seconds in which a released attempt may end by itself."""
SETTLE_FLUSH_TIMEOUT = 5.0
"""Seconds to write the last settlements."""
DELIVERY_FLUSH_TIMEOUT = 2.0
"""Seconds to deliver webhooks after a requested stop. The next worker delivers the rest."""


def shut_down(worker: Worker, ending: Ending, *, hurry: Callable[[], bool]) -> None:
    """Stop claiming, finish the running jobs, release those that do not finish, write and deliver all results.

    Once ``hurry`` returns true the grace period is over, and running jobs are released at once.
    """
    worker.events.emit("worker.draining", worker=worker.settings.id, reason=ending.value, busy=worker.pool.busy)
    worker.maintenance.loop.stop()
    if worker.slow_maintenance:
        worker.slow_maintenance.loop.stop()
    worker.poller.loop.stop()
    worker.poller.loop.join(SETTLE_FLUSH_TIMEOUT)
    if ending is not Ending.BROKEN:
        _finish_running(worker, hurry)
    _release_running(worker)
    _flush_settlements(worker)
    _flush_deliveries(worker, ending)
    worker.heartbeat.loop.stop()
    worker.settler.loop.stop()
    worker.settler.loop.join(SETTLE_FLUSH_TIMEOUT)  # the end of the process must not cut off a running statement
    worker.listener.close()
    worker.pool.stop()
    _deregister(worker)
    worker.events.emit("worker.stopped", worker=worker.settings.id, reason=ending.value)


def _finish_running(worker: Worker, hurry: Callable[[], bool]) -> None:
    until = time.monotonic() + worker.settings.grace
    while _is_working(worker) and time.monotonic() < until and not hurry():
        time.sleep(STEP)


def _release_running(worker: Worker) -> None:
    """Ask the threads to release their jobs, then release the remaining ones here, which the fence makes harmless.

    Not a job that is past its deadline: a job that hangs must not come back as if it had not started.
    """
    for lease in worker.leases.all():
        lease.release()
    until = time.monotonic() + RELEASE_TIMEOUT
    while _is_working(worker) and time.monotonic() < until:
        time.sleep(STEP)
    for lease in worker.pool.running():
        if not lease.lost and not lease.overdue(0):
            worker.settler.put(lease, Released())


def _flush_settlements(worker: Worker) -> None:
    until = time.monotonic() + SETTLE_FLUSH_TIMEOUT
    while worker.settler.waiting and time.monotonic() < until:
        time.sleep(STEP)


def _flush_deliveries(worker: Worker, ending: Ending) -> None:
    """If the queue is empty there is time to deliver every due webhook."""
    if worker.courier is None:
        return
    if ending in (Ending.EMPTY, Ending.STOPPED):
        within = worker.courier.longest if ending is Ending.EMPTY else DELIVERY_FLUSH_TIMEOUT
        worker.courier.finish(within=within)
    worker.courier.loop.stop()


def _is_working(worker: Worker) -> bool:
    return worker.pool.busy > len(worker.stuck())


def _deregister(worker: Worker) -> None:
    try:
        worker.store.remove_worker(worker.settings.id)
    except StoreUnavailable:
        return  # the row is deleted after a day
