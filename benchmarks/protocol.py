"""Measures jobs per second through the whole protocol: a worker, the bound and the peer drain a queue in turns."""

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
  FROM generation.generation_job
"""
OWN_BENCHMARK = "as in its own benchmark"
QUICKEST = "fastest settings found"
PEER_SETTINGS = {OWN_BENCHMARK: (5, 10), QUICKEST: (2, 100)}
"""Queue managers and batch size."""
LEAST = 0.01
"""Least CPU time of a run, in microseconds a job: the system counts it in ticks, and may count none for a short run."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The result of one drain. CPU is in microseconds a job, of the worker process and of the server."""

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
        """CPU of both. On a busy machine it varies far less than the jobs per second."""
        return max(self.server_cpu + (self.worker_cpu or 0.0), LEAST)


def drain_with_worker(server: Server, *, jobs: int, cost: int, slots: int) -> Drain:
    with server.database(jobs, cost) as conninfo:
        begun, before = time.monotonic(), server.cpu_seconds()
        with noop_worker(conninfo, slots=slots, until_empty=True) as worker:
            worker.read()
            counted = worker.read()
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
        run_peer(do="fill", conninfo=conninfo, jobs=jobs)

    with server.filled(f"{jobs} jobs of pgqueuer", "template0", fill) as conninfo:
        before = server.cpu_seconds()
        counted = run_peer(do="drain", conninfo=conninfo, managers=managers, batch=batch)
        spent = server.cpu_seconds() - before
    assert counted["jobs"] == jobs
    return Drain(
        jobs_per_second=jobs / counted["seconds"],
        server_cpu=1e6 * spent / jobs,
        worker_cpu=1e6 * counted["cpu_seconds"] / jobs,
        driver=counted["driver"],
    )


def run_peer(**orders: Any) -> dict[str, Any]:
    with Child("benchmarks.pgqueuer_peer", orders) as peer:
        return peer.read()


def jobs_per_second(conninfo: str, jobs: int) -> float:
    """Jobs per second from the first claim to the last settlement. Raises RuntimeError if the audit finds a problem."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(SPAN).fetchone()
        assert row is not None
        completed, seconds = row
        broken = {violation.invariant for violation in find_violations(Queries.on(connection), max_paid_calls=2)}
    if completed != jobs or broken:
        raise RuntimeError(f"{completed} of {jobs} jobs are completed; the audit found {broken}")
    return jobs / seconds
