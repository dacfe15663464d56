"""Jobs per second through the whole protocol: a worker and the bound drain the same rows, in turns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.pgbench_bound import drain_with_pgbench
from benchmarks.processes import Child, noop_worker
from benchmarks.server import Server
from generation_worker.db.ledger import find_violations
from generation_worker.db.query import Queries

SPAN = """
SELECT count(*) FILTER (WHERE status = 'completed'),
       extract(epoch FROM max(finished_at) - min(started_at))::float8
  FROM generation_job
"""
OWN_BENCHMARK = "as in its own benchmark"
QUICKEST = "the quickest that we found"
PEER_SETTINGS = {OWN_BENCHMARK: (5, 10), QUICKEST: (2, 100)}
"""Queue managers and batch size."""
LEAST = 0.01
"""What a short run is taken to have used at least: the system counts processor time in ticks, and may see none."""


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain. CPU is microseconds for one job: by the process that works, and by the server for it."""

    jobs_per_second: float
    """By the database's clock, from the first claim to the last settlement."""
    server_cpu: float
    worker_cpu: float | None = None
    whole_process: float | None = None
    """Jobs per second from the start of the process to its end."""
    claim_batch: float | None = None
    settle_batch: float | None = None
    driver: str | None = None

    @property
    def cpu(self) -> float:
        """Of both. A machine that others use too changes it far less than it changes the jobs per second."""
        return max(self.server_cpu + (self.worker_cpu or 0.0), LEAST)


def drain_with_worker(server: Server, *, jobs: int, cost: int, slots: int) -> Drain:
    with server.database(jobs, cost) as conninfo:
        begun, before = time.monotonic(), server.cpu_seconds()
        with noop_worker(conninfo, slots=slots, until_empty=True) as worker:
            worker.answer()
            counted = worker.answer()
        took, spent = time.monotonic() - begun, server.cpu_seconds() - before
        return Drain(
            jobs_per_second=jobs_per_second(conninfo, jobs),
            server_cpu=1e6 * spent / jobs,
            worker_cpu=1e6 * counted["cpu_seconds"] / jobs,
            whole_process=jobs / took,
            claim_batch=jobs / counted["claims"],
            settle_batch=jobs / counted["settlements"],
        )


def drain_with_bound(server: Server, *, jobs: int, cost: int, slots: int) -> Drain:
    with server.database(jobs, cost) as conninfo:
        before = server.cpu_seconds()
        drain_with_pgbench(conninfo, jobs=jobs, slots=slots)
        spent = server.cpu_seconds() - before
        return Drain(jobs_per_second(conninfo, jobs), server_cpu=1e6 * spent / jobs)


def drain_with_peer(server: Server, *, jobs: int, settings: str) -> Drain:
    managers, batch = PEER_SETTINGS[settings]

    def fill(conninfo: str) -> None:
        ask_peer(do="fill", conninfo=conninfo, jobs=jobs)

    with server.filled(f"{jobs} jobs of pgqueuer", "template0", fill) as conninfo:
        before = server.cpu_seconds()
        counted = ask_peer(do="drain", conninfo=conninfo, managers=managers, batch=batch)
        spent = server.cpu_seconds() - before
    assert counted["jobs"] == jobs
    return Drain(
        jobs_per_second=jobs / counted["seconds"],
        server_cpu=1e6 * spent / jobs,
        worker_cpu=1e6 * counted["cpu_seconds"] / jobs,
        driver=counted["driver"],
    )


def ask_peer(**orders: Any) -> dict[str, Any]:
    with Child("benchmarks.pgqueuer_peer", orders) as peer:
        return peer.answer()


def jobs_per_second(conninfo: str, jobs: int) -> float:
    """From the first claim to the last settlement, after a look at the books: all done, all paid, nothing else."""
    with psycopg.connect(conninfo, autocommit=True, options="-c search_path=generation") as connection:
        row = connection.execute(SPAN).fetchone()
        assert row is not None
        completed, seconds = row
        broken = {violation.invariant for violation in find_violations(Queries.on(connection), max_paid_calls=2)}
    if completed != jobs or broken:
        raise RuntimeError(f"{completed} of {jobs} jobs are completed; the audit found {broken}")
    return jobs / seconds
