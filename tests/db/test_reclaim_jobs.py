"""Taking over from a worker that fell silent: once, with a new token, and with the silent one's name kept."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.database import Connection, Database
from tests.support.jobs import TRACEPARENT, balance, enqueue, grant, job
from tests.support.protocol import COMPLETED, CRASHED, CRASHED_TOO_OFTEN, EXPIRED, Worker, attempts, cancel, everything


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    grant(connection, amount=10)
    return enqueue(connection, cost=3, traceparent=TRACEPARENT)


def test_a_living_lease_is_left_alone(worker: Worker, job_id: UUID) -> None:
    worker.claim_one()
    before = everything(worker.connection)
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []
    assert everything(worker.connection) == before


def test_an_expired_lease_is_taken_over_with_a_new_token(worker: Worker, job_id: UUID) -> None:
    silent = worker.claim_one(lease=EXPIRED)
    (taken,) = Worker(worker.connection, "worker-2").store.reclaim_jobs(limit=10, lease=60)
    assert taken.job.lease_token != silent.lease_token
    assert taken.job._replace(lease_token="", seconds_left=0, age=0) == silent._replace(
        lease_token="", seconds_left=0, waited=0, age=0, began_with=silent.lease_token
    )
    assert (taken.job.trace.span_id, taken.job.trace.trace_id) == (silent.trace.span_id, TRACEPARENT[3:35])
    assert taken.job.seconds_left == pytest.approx(silent.seconds_left, abs=5)
    assert taken.worker == "worker-1"
    assert taken.held_for == pytest.approx(0, abs=5)
    assert job(worker.connection, job_id)["status"] == "processing"


def test_what_was_taken_over_is_not_taken_again_while_that_lease_lives(worker: Worker, job_id: UUID) -> None:
    worker.claim_one(lease=EXPIRED)
    assert len(worker.store.reclaim_jobs(limit=10, lease=60)) == 1
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []


def test_a_takeover_that_fell_silent_too_is_taken_over_in_turn(worker: Worker, job_id: UUID) -> None:
    worker.claim_one(lease=EXPIRED)
    (first,) = worker.store.reclaim_jobs(limit=10, lease=EXPIRED)
    (second,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert worker.settle(first.job, CRASHED) is None
    assert worker.settle(second.job, CRASHED) == "scheduled"
    assert job(worker.connection, job_id)["crashes"] == 1


def test_the_history_names_the_worker_that_fell_silent(worker: Worker, job_id: UUID) -> None:
    worker.claim_one(lease=EXPIRED)
    (taken,) = Worker(worker.connection, "worker-2").store.reclaim_jobs(limit=10, lease=60)
    worker.settle(taken.job, CRASHED)
    assert [(past["worker"], past["outcome"]) for past in attempts(worker.connection, job_id)] == [
        ("worker-1", "crashed")
    ]


def test_two_crashes_count_twice_and_cost_once(worker: Worker, job_id: UUID) -> None:
    for _ in range(2):
        worker.claim_one(lease=EXPIRED)
        (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
        worker.settle(taken.job, CRASHED)
        worker.promote_now()
    row = job(worker.connection, job_id)
    assert (row["crashes"], row["attempt"], row["status"]) == (2, 2, "pending")
    assert balance(worker.connection) == 7
    assert worker.settle(worker.claim_one(), COMPLETED) == "completed"


def test_a_job_that_crashed_too_often_is_refunded(worker: Worker, job_id: UUID) -> None:
    worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert worker.settle(taken.job, CRASHED_TOO_OFTEN) == "failed"
    assert balance(worker.connection) == 10


def test_a_job_that_was_to_be_cancelled_is_not_tried_again_after_a_crash(worker: Worker, job_id: UUID) -> None:
    worker.claim_one(lease=EXPIRED)
    cancel(worker.connection, job_id)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert worker.settle(taken.job, CRASHED) == "cancelled"
    assert balance(worker.connection) == 10


def test_no_more_are_taken_over_than_asked_for(worker: Worker, connection: Connection) -> None:
    grant(connection)
    for _ in range(5):
        enqueue(connection)
    worker.claim(lease=EXPIRED)
    assert [len(worker.store.reclaim_jobs(limit=2, lease=60)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_job_that_is_just_being_settled_is_skipped(worker: Worker, database: Database, job_id: UUID) -> None:
    claimed = worker.claim_one(lease=EXPIRED)
    other = Worker(database.connect(autocommit=False))
    other.settle(claimed, COMPLETED)
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []
    other.connection.commit()
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []
    assert job(worker.connection, job_id)["status"] == "completed"
