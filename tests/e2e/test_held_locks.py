"""A worker while somebody in psql holds a row that it needs, and afterwards."""

from __future__ import annotations

import pytest

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import balance, enqueue, grant, job
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until


@pytest.fixture
def holder(database: Database) -> Connection:
    """Whoever has begun to change something in psql, and was called away."""
    return database.connect_direct(autocommit=False)


def wait_for_lock_timeout(worker: WorkerProcess, statement: str) -> None:
    said = f"{statement}: canceling statement due to lock timeout"
    wait_until(lambda: any(said in event["error"] for event in worker.events("database.unavailable")), said)


def test_a_claim_that_cannot_charge_an_account_is_made_when_it_can(
    app: Connection, start_worker: StartWorker, holder: Connection
) -> None:
    grant(app, amount=10)
    job_id = enqueue(app)
    holder.execute("UPDATE credit_account SET fair_weight = 2")
    worker = start_worker()
    wait_for_lock_timeout(worker, "claim_jobs")
    holder.rollback()
    wait_until(lambda: job(app, job_id)["status"] == "completed", "the job is done")
    assert (job(app, job_id)["attempt"], balance(app)) == (1, 9)
    assert find_violations(queries_on(app), max_paid_calls=1) == []


def test_a_heartbeat_is_over_before_the_next_one_is_due(
    app: Connection, start_worker: StartWorker, holder: Connection
) -> None:
    worker = start_worker(LEASE_DURATION="2s")
    worker.wait_for("worker.started")
    holder.execute("UPDATE worker_process SET busy = 0")
    wait_for_lock_timeout(worker, "touch_worker")
    holder.rollback()
    worker.wait_for("loop.recovered")


def test_a_job_that_somebody_holds_keeps_no_other_from_being_settled(
    app: Connection, start_worker: StartWorker, holder: Connection
) -> None:
    """Though they end together, and are written together where nothing is in the way."""
    grant(app, amount=10)
    jobs = [enqueue(app) for _ in range(3)]
    worker = start_worker(WORKER_CONCURRENCY="3", LOCAL_DELAY="500ms")
    wait_until(lambda: {job(app, each)["status"] for each in jobs} == {"processing"}, "all run")
    holder.execute("UPDATE generation_job SET priority = 1 WHERE id = %s", (jobs[1],))
    wait_for_lock_timeout(worker, "settle_attempts")
    wait_until(lambda: all(job(app, each)["status"] == "completed" for each in (jobs[0], jobs[2])), "the others end")
    assert job(app, jobs[1])["status"] == "processing"
    holder.rollback()
    wait_until(lambda: job(app, jobs[1])["status"] == "completed", "the job is done")
    assert job(app, jobs[1])["attempt"] == 1
    assert find_violations(queries_on(app), max_paid_calls=1) == []
