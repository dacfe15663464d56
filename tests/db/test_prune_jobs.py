"""Old jobs go, with what was noted of them; the books stay."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg import sql

from tests.support.database import Connection
from tests.support.jobs import balance, enqueue, grant, put_job
from tests.support.protocol import COMPLETED, GAVE_UP, RETRY, Worker, attempts, calls, entries, everything

HOUR = 3600.0
AT_ONCE = -1.0
"""A retention that has passed for a job that has just ended."""


def ended(connection: Connection, seconds_ago: float) -> UUID:
    ago = sql.SQL("clock_timestamp() - make_interval(secs => {})").format(sql.Literal(seconds_ago))
    return put_job(connection, "completed", finished_at=ago)


def there(connection: Connection) -> set[UUID]:
    return {row[0] for row in connection.execute("SELECT id FROM generation_job").fetchall()}


def test_a_job_is_kept_for_the_retention(worker: Worker, connection: Connection) -> None:
    ended(connection, HOUR + 1)
    young = ended(connection, HOUR - 5)
    assert worker.store.prune_jobs(retention=HOUR, limit=10) == 1
    assert there(connection) == {young}


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited", "processing"])
def test_a_job_that_is_not_over_is_never_deleted(worker: Worker, connection: Connection, status: str) -> None:
    put_job(connection, status, created_at="2000-01-01", run_at="2000-01-01", deadline_at="2000-01-02")
    before = everything(connection)
    assert worker.store.prune_jobs(retention=AT_ONCE, limit=10) == 0
    assert everything(connection) == before


@pytest.mark.parametrize("settlement", [COMPLETED, GAVE_UP], ids=lambda settlement: settlement.status)
def test_attempts_and_calls_go_with_their_job_and_entries_stay(
    worker: Worker, connection: Connection, settlement: object
) -> None:
    assert settlement in (COMPLETED, GAVE_UP)
    grant(connection)
    job_id = enqueue(connection)
    claimed = worker.claim_one()
    worker.store.begin_call(claimed, provider="local", key_label="none", max_paid_calls=2)
    worker.settle(claimed, COMPLETED if settlement is COMPLETED else GAVE_UP)
    books, left = entries(connection), balance(connection)
    assert worker.store.prune_jobs(retention=AT_ONCE, limit=10) == 1
    assert (there(connection), attempts(connection, job_id), calls(connection, job_id)) == (set(), [], [])
    assert (entries(connection), balance(connection)) == (books, left)


def test_what_was_noted_of_other_jobs_stays(worker: Worker, connection: Connection) -> None:
    grant(connection)
    job_id = enqueue(connection)
    claimed = worker.claim_one()
    worker.store.begin_call(claimed, provider="local", key_label="none", max_paid_calls=2)
    worker.settle(claimed, RETRY)
    ended(connection, HOUR)
    worker.store.prune_jobs(retention=AT_ONCE, limit=10)
    assert (len(attempts(connection, job_id)), len(calls(connection, job_id))) == (1, 1)


def test_no_more_are_deleted_than_asked_for_and_the_oldest_first(worker: Worker, connection: Connection) -> None:
    old = [ended(connection, (5 - number) * HOUR) for number in range(5)]
    assert worker.store.prune_jobs(retention=0, limit=2) == 2
    assert there(connection) == set(old[2:])
