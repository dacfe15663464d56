"""Provider calls: noted before they are made, bounded for each job, and finished by whoever knows how they went."""

from __future__ import annotations

from uuid import UUID

import pytest

from generation_worker.domain.job import Job
from generation_worker.ports import CallBegun, CallReport
from tests.support.database import Connection
from tests.support.jobs import enqueue, grant
from tests.support.protocol import COMPLETED, CRASHED, EXPIRED, RETRY, Worker, calls, cancel, everything

ANSWERED = CallReport(
    milliseconds=1200,
    spent=True,
    model="local-1",
    provider_ref="p-1",
    usage={"images": 1, "note": "凧"},
    error_code=None,
)
NOT_CHARGED = CallReport(milliseconds=5, spent=False, error_code="provider_unavailable")
UNKNOWN = CallReport(milliseconds=5, spent=None, error_code="attempt_timeout")


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    grant(connection)
    return enqueue(connection)


def begin(worker: Worker, claimed: Job, most: int = 2) -> CallBegun:
    return worker.store.begin_call(claimed, provider="local", key_label="key-1", max_paid_calls=most)


def try_again(worker: Worker, claimed: Job) -> Job:
    worker.settle(claimed, RETRY)
    worker.promote_now()
    return worker.claim_one()


def test_a_call_is_noted_before_it_is_made(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    assert begin(worker, claimed)[:5] == (True, False, 0, 1, None)
    (call,) = calls(worker.connection, job_id)
    assert (call["number"], call["provider"], call["key_label"]) == (1, "local", "key-1")
    assert str(call["lease_token"]) == claimed.lease_token
    assert call["finished_at"] is call["spent"] is call["milliseconds"] is None


def test_a_call_is_finished_with_what_is_known_of_it(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    begin(worker, claimed)
    worker.store.finish_call(claimed, 1, ANSWERED)
    (call,) = calls(worker.connection, job_id)
    assert (call["milliseconds"], call["spent"], call["model"], call["provider_ref"]) == (1200, True, "local-1", "p-1")
    assert (call["usage"], call["error_code"]) == ({"images": 1, "note": "凧"}, None)
    assert call["finished_at"] >= call["started_at"]


def test_a_call_is_finished_once(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    begin(worker, claimed)
    worker.store.finish_call(claimed, 1, ANSWERED)
    before = everything(worker.connection)
    worker.store.finish_call(claimed, 1, NOT_CHARGED)
    assert everything(worker.connection) == before


def test_a_call_is_finished_by_a_worker_that_lost_the_job_meanwhile(worker: Worker, job_id: UUID) -> None:
    """What was paid is true whoever holds the lease now."""
    claimed = worker.claim_one(lease=EXPIRED)
    begin(worker, claimed)
    worker.store.reclaim_jobs(limit=10, lease=60)
    worker.store.finish_call(claimed, 1, ANSWERED)
    assert calls(worker.connection, job_id)[0]["spent"] is True


# the bound


@pytest.mark.parametrize("report", [ANSWERED, UNKNOWN, None], ids=["paid", "not known", "never answered"])
def test_calls_that_were_or_may_have_been_paid_are_bounded(
    worker: Worker, job_id: UUID, report: CallReport | None
) -> None:
    claimed = worker.claim_one()
    for number in (1, 2):
        assert begin(worker, claimed)[:5] == (True, False, number - 1, number, None)
        if report is not None:
            worker.store.finish_call(claimed, number, report)
        claimed = try_again(worker, claimed)
    assert begin(worker, claimed)[:5] == (True, False, 2, None, None)
    assert len(calls(worker.connection, job_id)) == 2


def test_calls_that_were_not_charged_are_not_counted(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    for number in (1, 2, 3):
        assert begin(worker, claimed, most=1)[:5] == (True, False, 0, number, None)
        worker.store.finish_call(claimed, number, NOT_CHARGED)
        claimed = try_again(worker, claimed)
    assert begin(worker, claimed, most=1).number == 4


def test_a_job_that_may_not_pay_at_all_begins_no_call(worker: Worker, job_id: UUID) -> None:
    assert begin(worker, worker.claim_one(), most=0)[:5] == (True, False, 0, None, None)


def test_calls_of_other_jobs_do_not_count(worker: Worker, connection: Connection) -> None:
    grant(connection)
    for _ in range(2):
        enqueue(connection)
    first, second = worker.claim().jobs
    begin(worker, first, most=1)
    assert begin(worker, second, most=1).number == 1


# the fence


def test_no_call_is_begun_by_a_worker_that_lost_the_job(worker: Worker, job_id: UUID) -> None:
    late = worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    before = everything(worker.connection)
    assert begin(worker, late).held is False
    assert everything(worker.connection) == before
    worker.settle(taken.job, CRASHED)
    worker.promote_now()
    worker.claim_one()
    assert begin(worker, late).held is False


def test_no_call_is_begun_for_a_job_that_is_over(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, COMPLETED)
    assert begin(worker, claimed).held is False
    assert calls(worker.connection, job_id) == []


def test_no_call_is_begun_once_somebody_asked_to_cancel(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    cancel(worker.connection, job_id)
    assert begin(worker, claimed)[:5] == (True, True, 0, None, None)
    assert calls(worker.connection, job_id) == []


def test_a_job_that_was_deleted_begins_no_call(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, COMPLETED)
    worker.store.prune_jobs(retention=-1, limit=10)
    assert begin(worker, claimed).held is False
