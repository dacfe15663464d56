"""Promotion: who is due becomes pending, at a fair place, and everybody knows when the next one is due."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest
from psycopg import sql

from generation_worker.domain.settlement import Settlement
from tests.support.database import Connection, Database
from tests.support.jobs import balance, change_job, enqueue, grant, job, put_job
from tests.support.protocol import LIMITED, RETRY, Worker, entries, put_endless

DUE = sql.SQL("clock_timestamp() - interval '1 second'")
LATER = sql.SQL("clock_timestamp() + interval '10 seconds'")


def test_nothing_waits(worker: Worker) -> None:
    assert worker.store.promote_jobs(limit=10) == (0, None)


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_a_job_that_is_due_becomes_pending(worker: Worker, connection: Connection, status: str) -> None:
    due, later = put_job(connection, status, run_at=DUE), put_job(connection, status, run_at=LATER)
    promotion = worker.store.promote_jobs(limit=10)
    assert promotion.promoted == 1
    assert promotion.next_due == pytest.approx(10, abs=9)
    assert [job(connection, waiting)["status"] for waiting in (due, later)] == ["pending", status]


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "cancelled"])
def test_no_other_job_is_touched(worker: Worker, connection: Connection, status: str) -> None:
    job_id = put_job(connection, status, run_at=DUE)
    before = job(connection, job_id)
    assert worker.store.promote_jobs(limit=10) == (0, None)
    assert job(connection, job_id) == before


def test_promotion_moves_no_money_and_counts_no_attempt(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=10)
    job_id = enqueue(connection, run_at="2099-01-01", cost=3)
    change_job(connection, job_id, run_at=DUE)
    worker.promote_now()
    row = job(connection, job_id)
    assert (row["status"], row["attempt"], row["debited"]) == ("pending", 0, False)
    assert (entries(connection), balance(connection)) == ([("grant", 10, 10)], 10)


@pytest.mark.parametrize("settlement", [RETRY, LIMITED], ids=lambda settlement: settlement.outcome)
def test_a_job_that_has_started_keeps_its_place(worker: Worker, connection: Connection, settlement: Settlement) -> None:
    grant(connection)
    job_id = enqueue(connection)
    place = job(connection, job_id)["position"]
    worker.settle(worker.claim_one(), settlement)
    for _ in range(3):
        enqueue(connection)
    worker.promote_now()
    assert job(connection, job_id)["position"] == place
    assert UUID(worker.claim_one().id) == job_id


def test_many_jobs_put_off_to_one_moment_do_not_stand_in_front_of_others(
    worker: Worker, connection: Connection
) -> None:
    for _ in range(20):
        put_job(connection, "scheduled", user_id="ada", run_at=DUE, position=DUE)
    worker.store.promote_jobs(limit=100)
    enqueue(connection, "bob", cost=0)
    users = [claimed.user_id for claimed in (worker.claim_one() for _ in range(3))]
    assert "bob" in users


def test_promoted_jobs_of_a_user_stand_behind_each_other_and_behind_what_is_pending(
    worker: Worker, connection: Connection
) -> None:
    pending = enqueue(connection, cost=0)
    waiting = [put_job(connection, "scheduled", run_at=DUE) for _ in range(3)]
    worker.store.promote_jobs(limit=100)
    places = [job(connection, job_id)["position"] for job_id in (pending, *waiting)]
    steps = [(after - before).total_seconds() for before, after in pairwise(places)]
    assert steps == pytest.approx([10, 10, 10], abs=0.01)


def test_no_more_are_promoted_than_asked_for_and_those_due_first(worker: Worker, connection: Connection) -> None:
    runs = [f"2026-01-01 00:00:0{second}Z" for second in range(5)]
    waiting = [put_job(connection, "scheduled", run_at=run) for run in runs]
    assert [worker.store.promote_jobs(limit=2).promoted for _ in range(2)] == [2, 2]
    assert [job(connection, job_id)["status"] for job_id in waiting] == ["pending"] * 4 + ["scheduled"]


def test_a_job_that_is_just_being_cancelled_is_skipped(
    worker: Worker, connection: Connection, database: Database
) -> None:
    job_id = put_job(connection, "scheduled", run_at=DUE)
    other = database.connect(autocommit=False)
    other.execute("SELECT cancel_generation(%s)", (job_id,))
    assert worker.store.promote_jobs(limit=10).promoted == 0
    other.commit()
    assert job(connection, job_id)["status"] == "cancelled"


@pytest.mark.parametrize("column", ["run_at", "position", "deadline_at"])
def test_a_time_without_end_does_not_hold_up_the_others(worker: Worker, connection: Connection, column: str) -> None:
    put_endless(connection, "scheduled", column, "infinity", run_at=DUE)
    ordinary = put_job(connection, "scheduled", run_at=DUE)
    worker.store.promote_jobs(limit=10)
    assert job(connection, ordinary)["status"] == "pending"
