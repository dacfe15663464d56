"""What still waits after its deadline fails, and gets back what it was debited."""

from __future__ import annotations

import pytest
from psycopg import sql

from generation_worker.domain.settlement import Settlement
from generation_worker.ports import ExpiredJob
from tests.support.database import Connection, Database
from tests.support.jobs import TRACEPARENT, balance, change_job, enqueue, grant, job, put_job
from tests.support.protocol import CRASHED, LIMITED, RELEASED, RETRY, Worker, entries, everything

PAST = sql.SQL("clock_timestamp() - interval '1 second'")


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited"])
def test_a_job_that_waits_past_its_deadline_fails(worker: Worker, connection: Connection, status: str) -> None:
    late, in_time = put_job(connection, status, deadline_at=PAST), put_job(connection, status)
    [expired] = worker.store.expire_jobs(limit=10)
    assert expired == ExpiredJob(str(late), expired.age)
    row = job(connection, late)
    assert (row["status"], row["error_code"]) == ("failed", "deadline_exceeded")
    assert row["error_message"]
    assert job(connection, in_time)["status"] == status


def test_it_is_told_with_its_age_and_its_trace(worker: Worker, connection: Connection) -> None:
    created = sql.SQL("clock_timestamp() - interval '1 hour'")
    put_job(connection, deadline_at=PAST, created_at=created, traceparent=TRACEPARENT)
    [expired] = worker.store.expire_jobs(limit=10)
    assert (expired.traceparent, expired.age) == (TRACEPARENT, pytest.approx(3600, abs=30))


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
def test_a_job_that_runs_or_is_over_is_left_alone(worker: Worker, connection: Connection, status: str) -> None:
    put_job(connection, status, deadline_at=PAST)
    before = everything(connection)
    assert worker.store.expire_jobs(limit=10) == []
    assert everything(connection) == before


@pytest.mark.parametrize("settlement", [RETRY, LIMITED, RELEASED, CRASHED], ids=lambda settlement: settlement.outcome)
def test_a_job_that_had_started_is_refunded(worker: Worker, connection: Connection, settlement: Settlement) -> None:
    grant(connection, amount=10)
    job_id = enqueue(connection, cost=3)
    worker.settle(worker.claim_one(), settlement)
    change_job(connection, job_id, deadline_at=PAST)
    worker.store.expire_jobs(limit=10)
    assert entries(connection)[1:] == [("debit", -3, 7), ("refund", 3, 10)]
    assert balance(connection) == 10


def test_a_job_that_never_started_has_nothing_to_get_back(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=10)
    change_job(connection, enqueue(connection, cost=3), deadline_at=PAST)
    assert len(worker.store.expire_jobs(limit=10)) == 1
    assert entries(connection) == [("grant", 10, 10)]


def test_no_more_expire_than_asked_for_and_the_latest_first(worker: Worker, connection: Connection) -> None:
    late = [str(put_job(connection, deadline_at=f"2026-01-0{day}")) for day in range(1, 6)]
    assert [sorted(job.id for job in worker.store.expire_jobs(limit=2)) for _ in range(4)] == [
        sorted(late[:2]),
        sorted(late[2:4]),
        late[4:],
        [],
    ]


def test_a_job_that_is_just_being_claimed_is_skipped(
    worker: Worker, connection: Connection, database: Database
) -> None:
    put_job(connection, deadline_at=PAST)
    other = Worker(database.connect(autocommit=False), "worker-2")
    other.claim_one()
    assert worker.store.expire_jobs(limit=10) == []
    other.connection.commit()
    assert worker.store.expire_jobs(limit=10) == []
