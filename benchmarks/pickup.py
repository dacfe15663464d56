"""How long a job waits from its commit to the start of its work, while a worker is idle."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from benchmarks.processes import noop_worker
from benchmarks.server import Server

PAUSES = (0.02, 0.2)
"""Seconds between two commits: so long that the worker is idle again."""
ENQUEUE = "SELECT id FROM enqueue_generation('text_to_image', 'user-1', '{\"prompt\": \"a kite\"}')"


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds."""

    median: float
    p95: float
    longest: float


def measure_pickup(server: Server, *, jobs: int, listen: bool) -> dict[str, Any]:
    """Enqueue one job at a time from here, and see when another process begins to work on it."""
    with (
        server.database() as conninfo,
        psycopg.connect(conninfo, autocommit=True, options="-c search_path=generation") as connection,
    ):
        connection.execute("SELECT offer_providers(ARRAY['local']), grant_credits('user-1', %s)", (jobs,))
        with noop_worker(conninfo, slots=5, listen=listen, note_starts=True) as worker:
            worker.answer()
            committed = dict(enqueue(connection) for _ in range(jobs))
            time.sleep(1.5)  # without LISTEN the last one is found at the next poll
            started: dict[str, float] = worker.stop()["started"]
    return asdict(describe([started[job] - moment for job, moment in committed.items()]))


def enqueue(connection: psycopg.Connection[Any]) -> tuple[str, float]:
    """Commit one job: its id, and when its commit was confirmed, by a clock that all processes share."""
    time.sleep(random.uniform(*PAUSES))
    row = connection.execute(ENQUEUE).fetchone()
    assert row is not None
    return str(row[0]), time.monotonic()


def describe(seconds: list[float]) -> Waits:
    waits = sorted(1000 * wait for wait in seconds)
    return Waits(waits[len(waits) // 2], waits[int(len(waits) * 0.95)], waits[-1])
