"""Changes of one job by people and keys: run next, release. They are recorded in the audit trail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from generation_worker.db.audit_trail import Author, list_events
from generation_worker.db.fleet import pause
from generation_worker.db.jobs import release_job, run_next
from generation_worker.domain.fleet import Extent
from generation_worker.domain.refusals import JobNotFound, JobNotReleasable, JobNotWaiting
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, grant, job, put_job
from tests.support.protocol import RETRY, Worker, entries

ADA = Author("cli:ada", "because")


def events(connection: Connection) -> list[tuple[str, str, Any]]:
    found = list_events(queries_on(connection))
    return [(event.action, event.target, event.reason) for event in reversed(found)]


@pytest.mark.parametrize("priority", [0, -5, 7])
def test_a_job_overtakes_its_lane_whatever_the_priorities(worker: Worker, connection: Connection, priority: int):
    others = [put_job(connection, priority=n) for n in (0, -5, 3)]
    mine = put_job(connection, priority=priority)
    moved = run_next(queries_on(connection), mine, by=ADA)
    assert (moved.status, moved.priority) == ("pending", -5)
    assert worker.claim_one().id == str(mine)
    assert {each.id for each in worker.claim().jobs} == {str(each) for each in others}
    assert events(connection) == [("job.run_next", f"job:{mine}", "because")]


def test_one_that_is_first_already_keeps_its_place(worker: Worker, connection: Connection):
    first = put_job(connection)
    put_job(connection)
    before = job(connection, first)
    run_next(queries_on(connection), first, by=ADA)
    assert job(connection, first) == before


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_one_that_waits_for_its_time_waits_no_longer(worker: Worker, connection: Connection, status: str):
    grant(connection)
    other = put_job(connection)
    mine = enqueue(connection, cost=2)
    if status == "scheduled":
        claimed = worker.claim(2).jobs
        worker.settle(next(each for each in claimed if each.id == str(mine)), RETRY)
    else:
        mine = put_job(connection, status, waits=1)
    connection.execute("UPDATE generation_job SET run_at = now() + interval '1 hour' WHERE id = %s", (mine,))
    assert job(connection, mine)["status"] == status
    run_next(queries_on(connection), mine, by=ADA)
    assert worker.claim(1).jobs[0].id == str(mine)
    assert job(connection, other)["status"] in ("pending", "processing")
    assert len(entries(connection)) <= 2  # one that was debited is not debited again


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
def test_one_that_does_not_wait_is_left_alone(connection: Connection, status: str):
    mine = put_job(connection, status)
    before = job(connection, mine)
    with pytest.raises(JobNotWaiting, match=f"is {status}: it runs, or has ended"):
        run_next(queries_on(connection), mine, by=ADA)
    with pytest.raises(JobNotFound):
        run_next(queries_on(connection), uuid4(), by=ADA)
    assert (job(connection, mine), events(connection)) == (before, [])


def test_a_pause_holds_it_all_the_same(worker: Worker, connection: Connection):
    mine = put_job(connection)
    pause(queries_on(connection), Extent("user", "ada"), by=ADA)
    run_next(queries_on(connection), mine, by=ADA)
    assert worker.claim().jobs == []


def test_a_released_job_is_taken_over_and_its_old_worker_writes_nothing(worker: Worker, connection: Connection):
    put_job(connection)
    running = worker.claim_one()
    assert release_job(queries_on(connection), running.id, by=ADA) == ("processing", "worker-1")
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert taken.job.id == running.id
    assert worker.settle(running, RETRY) is None
    assert events(connection) == [("job.release", f"job:{running.id}", "because")]


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_what_waits_for_its_time_is_due_now_and_stands_where_it_would(
    worker: Worker, connection: Connection, status: str
):
    grant(connection)
    other = put_job(connection)
    mine = put_job(connection, status, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert worker.store.promote_jobs(limit=10).promoted == 0
    assert release_job(queries_on(connection), mine, by=ADA) == (status, None)
    assert worker.store.promote_jobs(limit=10).promoted == 1
    assert {each.id for each in worker.claim().jobs} == {str(other), str(mine)}
    assert events(connection) == [("job.release", f"job:{mine}", "because")]


def test_what_waits_for_nothing_is_not_released(connection: Connection):
    for status in ("pending", "completed"):
        with pytest.raises(JobNotReleasable, match=f"is {status}: it is neither delayed nor held"):
            release_job(queries_on(connection), put_job(connection, status), by=ADA)
    with pytest.raises(JobNotFound):
        release_job(queries_on(connection), uuid4(), by=ADA)
    assert events(connection) == []
