"""One worker's steps, one at a time, through the statements that it runs; and what they leave in the tables."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from generation_worker.db.connections import Row
from generation_worker.db.protocol import PostgresStore
from generation_worker.domain.job import FRONT, Job, Place, Status
from generation_worker.domain.settlement import Settlement
from generation_worker.ports import Claim, Key, Renewal
from tests.support.database import SCHEMA, Connection
from tests.support.jobs import configure, offer_local, put_job

LEASE = 60.0
EXPIRED = -1.0
"""A lease of this length is over when it begins: nobody has to wait for it."""

RENEWED = Renewal(True, cancel_requested=False)
PASSED_OVER = Renewal(False, cancel_requested=False)
COMPLETED = Settlement("completed", "completed", result={"images": [{"key": "images/1.webp"}]})
RETRY = Settlement("failed", "scheduled", 5.0, error_code="provider_unavailable", error_message="503")
RETRY_NOW = Settlement("failed", "scheduled", 0.0, error_code="provider_unavailable", error_message="503")
GAVE_UP = Settlement("failed", "failed", error_code="provider_unavailable", error_message="503")
BLOCKED = Settlement("blocked", "failed", error_code="content_blocked", error_message="SAFETY")
LIMITED = Settlement("rate_limited", "rate_limited", 30.0, error_code="rate_limited", error_message="429")
LIMITED_TOO_OFTEN = Settlement("rate_limited", "failed", error_code="rate_limited", error_message="429")
CANCELLED = Settlement("cancelled", "cancelled")
RELEASED = Settlement("released", "pending")
CRASHED = Settlement("crashed", "scheduled", 5.0, crash_step=1, error_code="worker_lost", error_message="silent")
CRASHED_TOO_OFTEN = Settlement(
    "crashed", "failed", crash_step=1, error_code="too_many_crashes", error_message="3 attempts"
)
SETTLEMENTS = {
    "completed": COMPLETED,
    "retry": RETRY,
    "gave up": GAVE_UP,
    "blocked": BLOCKED,
    "limited": LIMITED,
    "limited too often": LIMITED_TOO_OFTEN,
    "cancelled": CANCELLED,
    "released": RELEASED,
    "crashed": CRASHED,
    "crashed too often": CRASHED_TOO_OFTEN,
}
"""One of each kind that `settle` decides."""


class OneConnection:
    """Lends the same connection each time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Generator[Connection]:
        yield self._connection


class Worker:
    """What one worker says to the database, over one connection."""

    def __init__(
        self, connection: Connection, name: str = "worker-1", lanes: Sequence[str] = ("local", "none")
    ) -> None:
        self.connection = connection
        self.name = name
        self.lanes = lanes
        self.store = PostgresStore(OneConnection(connection), schema=SCHEMA)

    def claim(
        self,
        slots: int = 100,
        *,
        lease: float = LEASE,
        max_attempts: int = 4,
        marks: dict[str, Place] | None = None,
        keys: Sequence[Key] = (),
    ) -> Claim:
        marks = dict.fromkeys(self.lanes, FRONT) | (marks or {})
        return self.store.claim_jobs(self.name, marks, keys=keys, slots=slots, lease=lease, max_attempts=max_attempts)

    def claim_one(self, *, lease: float = LEASE, max_attempts: int = 4) -> Job:
        (job,) = self.claim(1, lease=lease, max_attempts=max_attempts).jobs
        return job

    def settle(self, job: Job, settlement: Settlement) -> Status | None:
        return self.store.settle_attempts([(job, settlement)]).get(job.id)

    def renew(
        self, *jobs: Job, lease: float = LEASE, timeout: float = 600.0, grace: float = 10.0
    ) -> dict[str, Renewal]:
        leases = [(job.id, job.lease_token) for job in jobs]
        return self.store.renew_leases(leases, lease=lease, timeout=timeout, grace=grace)

    def promote_now(self) -> None:
        """Promote what waits, whenever it would be due."""
        self.connection.execute(
            "UPDATE generation_job SET run_at = clock_timestamp() WHERE status IN ('scheduled', 'rate_limited')"
        )
        self.store.promote_jobs(limit=1000)


def set_prices(connection: Connection) -> None:
    """Make `local` known, and let the caller say what a job costs."""
    offer_local(connection)
    configure(connection, caller_may_set_cost=True)


def put_endless(connection: Connection, status: str, column: str, end: str, **columns: Any) -> None:
    """Put a job there with a time that lies at infinity, which Python cannot read."""
    job_id = put_job(connection, status, **columns)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(f"UPDATE generation_job SET {column} = '{end}' WHERE id = %s".encode(), (job_id,))


def entries(connection: Connection, user: str = "ada") -> list[tuple[str, int, int]]:
    """An account's entries in order: kind, amount, balance after it."""
    query = "SELECT kind, amount, balance_after FROM credit_entry WHERE user_id = %s ORDER BY seq"
    return connection.execute(query, (user,)).fetchall()


def attempts(connection: Connection, job_id: str | UUID) -> list[dict[str, Any]]:
    """A job's history, oldest first."""
    return _rows(connection, "SELECT * FROM job_attempt WHERE job_id = %s ORDER BY ended_at", job_id)


def calls(connection: Connection, job_id: str | UUID) -> list[dict[str, Any]]:
    return _rows(connection, "SELECT * FROM provider_call WHERE job_id = %s ORDER BY number", job_id)


def cancel(connection: Connection, job_id: str | UUID) -> tuple[str, bool]:
    row = connection.execute("SELECT status, cancel_requested FROM cancel_generation(%s)", (job_id,)).fetchone()
    assert row is not None
    return row[0], row[1]


def everything(connection: Connection) -> dict[str, list[Row]]:
    """All rows that a statement of the protocol may change, to see that it changed none."""
    tables = ("generation_job", "credit_account", "credit_entry", "job_attempt", "provider_call", "staged_image")
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in tables}


def _rows(connection: Connection, query: str, job_id: str | UUID) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query.encode(), (job_id,)).fetchall()
