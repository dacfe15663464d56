"""The measured process: one worker with its whole protocol, and jobs that do nothing.

It reads its orders as one line of JSON and prints a line when it is ready. It ends when the queue is empty or its input
is closed, and prints what it has counted.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import RESULT
from generation_worker import __version__
from generation_worker.db.connections import OwnConnection, open_pool
from generation_worker.db.protocol import PostgresStore
from generation_worker.db.signals import PostgresSignals
from generation_worker.domain.job import ClaimCursor, Job, Status
from generation_worker.domain.settlement import Completed, Outcome, Settlement
from generation_worker.events import Events
from generation_worker.log import setup as log
from generation_worker.log.events import log_events
from generation_worker.ports import Claim
from generation_worker.worker.lease import Lease
from generation_worker.worker.settings import WorkerOptions
from generation_worker.worker.supervisor import Supervisor
from generation_worker.worker.worker import WorkerDependencies

NOTHING = Completed(RESULT)


class CountingStore(PostgresStore):
    """Counts the two statements of the hot path. Only one thread executes each."""

    claims = 0
    settlements = 0

    def claim_jobs(self, worker: str, low_water_marks: Mapping[str, ClaimCursor], **options: Any) -> Claim:
        claim = super().claim_jobs(worker, low_water_marks, **options)
        self.claims += bool(claim.jobs)
        return claim

    def settle_attempts(self, settlements: Sequence[tuple[Job, Settlement]]) -> dict[str, Status]:
        self.settlements += 1
        return super().settle_attempts(settlements)


class NoopWorker:
    """A worker as the wiring builds it, whose jobs only record their start."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._started: dict[str, float] = {}
        slots: int = orders["slots"]
        events = Events()
        log_events(events, "warning")
        self._pool = open_pool(orders["conninfo"], prepare=True, size=min(4 + slots // 4, 20))
        self._store = CountingStore(self._pool)
        self.supervisor = Supervisor(
            WorkerOptions("noop", __version__, slots, ("local",)),
            WorkerDependencies(
                store=self._store,
                heartbeat_store=PostgresStore(OwnConnection(orders["conninfo"], prepare=True)),
                signals=PostgresSignals(orders["conninfo"]) if orders["listen"] else None,
                work=self._note if orders["note_starts"] else lambda _lease: NOTHING,
                events=events,
            ),
        )

    def run(self) -> dict[str, Any]:
        before = _cpu_seconds()
        self.supervisor.start()
        self._report_ready()
        self.supervisor.run(until_empty=self._orders["until_empty"])
        counted = {
            "cpu_seconds": _cpu_seconds() - before,
            "claims": self._store.claims,
            "settlements": self._store.settlements,
            "started": self._started,
        }
        self._pool.close()
        return counted

    def _note(self, lease: Lease) -> Outcome:
        self._started[lease.job.id] = time.monotonic()
        return NOTHING

    def _report_ready(self) -> None:
        while self._orders["listen"] and not self._orders["until_empty"] and not self.supervisor.worker.listener.live:
            time.sleep(0.01)
        report({"ready": True})


def stop_with_input(supervisor: Supervisor) -> None:
    """Stop the worker when the parent closes this process's input, or dies."""

    def wait() -> None:
        sys.stdin.read()
        supervisor.request_stop()

    threading.Thread(target=wait, daemon=True).start()


def report(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    log.configure("warning")
    worker = NoopWorker(json.loads(sys.stdin.readline()))
    stop_with_input(worker.supervisor)
    report(worker.run())


if __name__ == "__main__":
    main()
