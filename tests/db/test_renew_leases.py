"""The heartbeat: what is still held is held for longer, and what is not does not come back."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from psycopg import sql

from generation_worker.ports import Renewal
from tests.support.database import Connection, Database
from tests.support.jobs import change_job, enqueue, grant, job
from tests.support.protocol import COMPLETED, CRASHED, EXPIRED, PASSED_OVER, RENEWED, Worker, cancel, everything

MORE_OR_LESS = timedelta(seconds=20)


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    grant(connection)
    return enqueue(connection)


def lease_end(connection: Connection, job_id: UUID) -> datetime:
    return job(connection, job_id)["lease_expires_at"]


def now(connection: Connection) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]


def test_a_renewed_lease_lasts_from_now_on(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one(lease=50)
    assert worker.renew(claimed, lease=60) == {claimed.id: RENEWED}
    expected = now(worker.connection) + timedelta(seconds=60)
    assert lease_end(worker.connection, job_id) == pytest.approx(expected, abs=MORE_OR_LESS)


def test_all_jobs_of_a_worker_are_renewed_at_once(worker: Worker, connection: Connection) -> None:
    grant(connection)
    for _ in range(5):
        enqueue(connection)
    jobs = worker.claim().jobs
    assert worker.renew(*jobs) == dict.fromkeys((claimed.id for claimed in jobs), RENEWED)


def test_nothing_to_renew_renews_nothing(worker: Worker) -> None:
    assert worker.renew() == {}


def test_a_lease_that_ran_out_but_was_not_taken_is_revived(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one(lease=EXPIRED)
    worker.renew(claimed)
    assert worker.store.reclaim_jobs(limit=10, lease=60) == []


def test_a_lease_that_was_taken_over_does_not_come_back(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=EXPIRED)
    before = everything(worker.connection)
    assert worker.renew(claimed) == {}
    assert everything(worker.connection) == before
    assert worker.renew(taken.job) == {claimed.id: RENEWED}


def test_the_next_attempt_is_not_renewed_by_the_last_one(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, CRASHED)
    worker.promote_now()
    worker.claim_one(lease=EXPIRED)
    before = everything(worker.connection)
    assert worker.renew(claimed) == {}
    assert everything(worker.connection) == before


def test_a_settled_job_does_not_come_back(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, COMPLETED)
    assert worker.renew(claimed) == {}


def test_a_request_to_cancel_comes_back_with_the_lease(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    cancel(worker.connection, job_id)
    assert worker.renew(claimed) == {claimed.id: Renewal(True, cancel_requested=True)}


def test_a_row_that_somebody_holds_costs_no_other_lease(
    worker: Worker, connection: Connection, database: Database
) -> None:
    grant(connection)
    for _ in range(3):
        enqueue(connection)
    first, held, last = worker.claim(lease=5).jobs
    holder = database.connect(autocommit=False)
    holder.execute("UPDATE generation_job SET priority = 1 WHERE id = %s", (held.id,))
    hasty = Worker(database.connect_direct(options="-c lock_timeout=1s"))
    assert hasty.renew(first, held, last) == {first.id: RENEWED, held.id: PASSED_OVER, last.id: RENEWED}
    ends = [lease_end(connection, UUID(found.id)) for found in (first, held, last)]
    assert [end > now(connection) + timedelta(seconds=30) for end in ends] == [True, False, True]
    holder.rollback()
    assert worker.renew(held) == {held.id: RENEWED}


def test_a_lease_is_never_made_shorter(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one(lease=60)
    end = lease_end(worker.connection, job_id)
    worker.renew(claimed, lease=1)
    assert lease_end(worker.connection, job_id) == end


@pytest.mark.parametrize("what", ["timeout", "deadline"])
def test_a_lease_outlives_the_attempts_time_by_the_grace_only(worker: Worker, job_id: UUID, what: str) -> None:
    """A living heartbeat cannot shield a thread that is stuck."""
    claimed = worker.claim_one(lease=1)
    if what == "deadline":
        change_job(worker.connection, job_id, deadline_at=sql.SQL("locked_at + interval '20 seconds'"))
    worker.renew(claimed, lease=60, timeout=20 if what == "timeout" else 600, grace=10)
    row = job(worker.connection, job_id)
    assert row["lease_expires_at"] - row["locked_at"] == timedelta(seconds=30)


def test_an_attempt_that_outlived_its_time_is_taken_over_in_spite_of_its_heartbeat(
    worker: Worker, job_id: UUID
) -> None:
    claimed = worker.claim_one(lease=EXPIRED)
    assert worker.renew(claimed, timeout=-20, grace=10) == {claimed.id: RENEWED}
    assert len(worker.store.reclaim_jobs(limit=10, lease=60)) == 1


def test_a_heartbeat_writes_no_index(worker: Worker, job_id: UUID) -> None:
    """Otherwise every beat of every job would leave dead entries in all the indexes that claims read."""
    claimed = worker.claim_one()
    with worker.connection.transaction():
        before = updates(worker.connection)
        for _ in range(3):
            worker.renew(claimed)
        after = updates(worker.connection)
    assert (after[0] - before[0], after[1] - before[1]) == (3, 3)


def updates(connection: Connection) -> tuple[int, int]:
    """How many updates of jobs this session has made, and how many of them touched no index."""
    row = connection.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'generation_job'"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
