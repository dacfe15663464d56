"""Images that are paid for and not yet stored are kept for the job, and no longer than it lives."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation

from generation_worker.domain.job import FINAL, MOST_ATTEMPTS
from generation_worker.domain.settlement import Settlement
from generation_worker.ports import Staged
from generation_worker.worker.image_store import LARGEST_STAGED
from tests.support.database import Connection
from tests.support.jobs import change_job, enqueue, grant, job
from tests.support.protocol import COMPLETED, CRASHED, EXPIRED, RETRY, SETTLEMENTS, Worker, cancel, everything

IMAGE = Staged(b"\x89PNG\x00\xff", "local", "local-1")
KEPT = replace(RETRY, allowance=1, error_code="storage_unavailable")


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    grant(connection)
    return enqueue(connection)


def staged(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM staged_image").fetchone()
    assert row is not None
    return row[0]


def test_what_is_staged_is_found_by_the_next_attempt(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    assert worker.store.find_staged(claimed) is None
    assert worker.store.stage_image(claimed, IMAGE)
    worker.settle(claimed, KEPT)
    worker.promote_now()
    assert worker.store.find_staged(worker.claim_one()) == IMAGE


def test_the_last_one_counts(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.store.stage_image(claimed, Staged(b"first", "far", "far-1"))
    worker.store.stage_image(claimed, IMAGE)
    assert worker.store.find_staged(claimed) == IMAGE


def test_what_is_stored_is_discarded_and_nothing_else(worker: Worker, connection: Connection, job_id: UUID) -> None:
    enqueue(connection)
    first, second = worker.claim().jobs
    worker.store.stage_image(first, IMAGE)
    worker.store.stage_image(second, IMAGE)
    worker.store.discard_staged(first)
    assert worker.store.find_staged(first) is None
    assert worker.store.find_staged(second) == IMAGE


def test_the_image_of_a_worker_that_lost_the_job_is_worth_keeping(worker: Worker, job_id: UUID) -> None:
    late = worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    assert worker.store.stage_image(late, IMAGE)
    worker.settle(taken.job, CRASHED)
    worker.promote_now()
    assert worker.store.find_staged(worker.claim_one()) == IMAGE


@pytest.mark.parametrize("settlement", SETTLEMENTS.values(), ids=list(SETTLEMENTS))
def test_a_job_that_is_over_needs_no_image(
    worker: Worker, connection: Connection, job_id: UUID, settlement: Settlement
) -> None:
    claimed = worker.claim_one()
    worker.store.stage_image(claimed, IMAGE)
    worker.settle(claimed, settlement)
    is_over = settlement.status in FINAL
    assert worker.store.prune_staged(limit=10) == is_over
    assert worker.store.stage_image(claimed, IMAGE) is not is_over
    assert staged(connection) == (not is_over)


def test_a_job_that_was_cancelled_or_deleted_needs_none_either(
    worker: Worker, connection: Connection, job_id: UUID
) -> None:
    claimed = worker.claim_one()
    worker.store.stage_image(claimed, IMAGE)
    worker.settle(claimed, KEPT)
    cancel(connection, job_id)
    worker.store.prune_jobs(retention=-1, limit=10)
    assert worker.store.prune_staged(limit=10) == 1
    assert worker.store.stage_image(claimed, IMAGE) is False


def test_pruning_is_bounded(worker: Worker, connection: Connection, job_id: UUID) -> None:
    for _ in range(4):
        enqueue(connection)
    for claimed in worker.claim().jobs:
        worker.store.stage_image(claimed, IMAGE)
        worker.settle(claimed, COMPLETED)
    assert [worker.store.prune_staged(limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_the_table_has_the_bound_that_the_worker_knows(worker: Worker, connection: Connection, job_id: UUID) -> None:
    claimed = worker.claim_one()
    assert worker.store.stage_image(claimed, IMAGE._replace(data=bytes(LARGEST_STAGED)))
    before = everything(connection)
    with pytest.raises(CheckViolation):
        worker.store.stage_image(claimed, IMAGE._replace(data=bytes(LARGEST_STAGED + 1)))
    assert everything(connection) == before


# attempts


def test_an_attempt_that_only_stored_allows_another(worker: Worker, connection: Connection, job_id: UUID) -> None:
    for attempt in range(1, 8):
        claimed = worker.claim_one(max_attempts=2)
        assert (claimed.attempt, claimed.max_attempts) == (attempt, attempt + 1)
        worker.settle(claimed, KEPT)
        worker.promote_now()
    assert job(connection, job_id)["max_attempts"] == 9


def test_a_crash_among_them_costs_no_image(worker: Worker, job_id: UUID) -> None:
    """There is always as much room left as there was before the storage went away."""
    for settlement in (KEPT, KEPT, CRASHED, KEPT):
        worker.settle(worker.claim_one(max_attempts=2), settlement)
        worker.promote_now()
    claimed = worker.claim_one(max_attempts=2)
    assert claimed.attempt == claimed.max_attempts == 5


def test_the_worker_knows_the_tables_bound_on_attempts(connection: Connection, job_id: UUID) -> None:
    change_job(connection, job_id, max_attempts=MOST_ATTEMPTS)
    with pytest.raises(CheckViolation):
        change_job(connection, job_id, max_attempts=MOST_ATTEMPTS + 1)
