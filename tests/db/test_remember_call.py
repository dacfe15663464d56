"""A call that the provider keeps an answer to is taken up again, whatever became of those who made it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation

from generation_worker.domain.job import Job
from generation_worker.ports import CallBegun, CallReport
from tests.support.database import Connection
from tests.support.jobs import enqueue, grant
from tests.support.protocol import COMPLETED, CRASHED, EXPIRED, RETRY, Worker, calls, cancel, everything

ANSWERED = CallReport(milliseconds=1200, spent=True, model="banana", usage={"seconds": 2})
GONE = CallReport(milliseconds=5, spent=True, error_code="call_lost")
FAILED = CallReport(milliseconds=5, spent=None, error_code="provider_unavailable")


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    grant(connection)
    return enqueue(connection)


def begin(worker: Worker, claimed: Job, most: int = 2, provider: str = "replicate") -> CallBegun:
    return worker.store.begin_call(claimed, provider=provider, key_label="key-1", max_paid_calls=most)


def remembered(worker: Worker, ref: str = "p-1", **claim: Any) -> Job:
    claimed = worker.claim_one(**claim)
    worker.store.remember_call(claimed, begin(worker, claimed).number or 0, ref)
    return claimed


def after_a_crash(worker: Worker) -> Job:
    """The next attempt, when the worker that had the job has fallen silent."""
    worker.connection.execute("UPDATE generation_job SET lease_expires_at = '2000-01-01' WHERE status = 'processing'")
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    worker.settle(taken.job, CRASHED)
    worker.promote_now()
    return worker.claim_one()


def test_the_next_attempt_takes_up_what_the_crashed_one_has_begun(worker: Worker, job_id: UUID) -> None:
    remembered(worker)
    assert begin(worker, after_a_crash(worker))[:5] == (True, False, 1, 1, "p-1")
    assert len(calls(worker.connection, job_id)) == 1


def test_taking_up_costs_nothing_so_the_bound_is_not_asked(worker: Worker, job_id: UUID) -> None:
    remembered(worker)
    for _ in range(2):
        assert begin(worker, after_a_crash(worker), most=1)[:5] == (True, False, 1, 1, "p-1")


def test_an_answer_that_was_received_and_lost_is_asked_for_again(worker: Worker, job_id: UUID) -> None:
    """The worker died after the answer and before the image was stored."""
    claimed = remembered(worker)
    worker.store.finish_call(claimed, 1, ANSWERED)
    again = after_a_crash(worker)
    assert begin(worker, again)[:5] == (True, False, 1, 1, "p-1")
    before = calls(worker.connection, job_id)
    worker.store.finish_call(again, 1, replace(ANSWERED, milliseconds=9))
    assert calls(worker.connection, job_id) == before


def test_a_call_without_an_id_is_not_taken_up(worker: Worker, job_id: UUID) -> None:
    begin(worker, worker.claim_one())
    assert begin(worker, after_a_crash(worker))[:5] == (True, False, 1, 2, None)


def test_an_id_that_came_with_the_answer_is_not_taken_up(worker: Worker, job_id: UUID) -> None:
    """Google gives an id too, but keeps nothing under it."""
    claimed = worker.claim_one()
    begin(worker, claimed)
    worker.store.finish_call(claimed, 1, replace(ANSWERED, provider_ref="resp-1"))
    assert begin(worker, after_a_crash(worker))[:5] == (True, False, 1, 2, None)


def test_another_provider_does_not_know_the_id(worker: Worker, job_id: UUID) -> None:
    remembered(worker)
    assert begin(worker, after_a_crash(worker), provider="gemini").resume is None


@pytest.mark.parametrize("report", [GONE, FAILED], ids=["gone", "failed"])
def test_what_has_come_to_nothing_is_not_taken_up(worker: Worker, job_id: UUID, report: CallReport) -> None:
    claimed = remembered(worker)
    worker.store.finish_call(claimed, 1, report)
    assert begin(worker, claimed)[:5] == (True, False, 1, 2, None)
    assert calls(worker.connection, job_id)[0]["provider_ref"] == "p-1"


def test_an_answer_that_is_gone_stays_paid(worker: Worker, job_id: UUID) -> None:
    claimed = remembered(worker)
    worker.store.finish_call(claimed, 1, ANSWERED)
    worker.store.finish_call(claimed, 1, replace(FAILED, spent=None, error_code="call_lost"))
    (call,) = calls(worker.connection, job_id)
    assert (call["spent"], call["milliseconds"], call["model"], call["error_code"]) == (
        True,
        1200,
        "banana",
        "call_lost",
    )
    assert begin(worker, claimed).number == 2
    before = everything(worker.connection)
    worker.store.finish_call(claimed, 1, ANSWERED)
    assert everything(worker.connection) == before


def test_the_bound_holds_for_the_call_after_one_that_is_gone(worker: Worker, job_id: UUID) -> None:
    claimed = remembered(worker)
    worker.store.finish_call(claimed, 1, GONE)
    assert begin(worker, claimed, most=1)[:5] == (True, False, 1, None, None)


def test_the_id_of_a_worker_that_lost_the_job_is_worth_keeping(worker: Worker, job_id: UUID) -> None:
    late = worker.claim_one(lease=EXPIRED)
    begin(worker, late)
    current = after_a_crash(worker)
    worker.store.remember_call(late, 1, "p-late")
    assert begin(worker, current)[:5] == (True, False, 1, 1, "p-late")


def test_of_two_that_are_kept_the_younger_is_taken_up(worker: Worker, job_id: UUID) -> None:
    late = worker.claim_one(lease=EXPIRED)
    begin(worker, late)
    current = after_a_crash(worker)
    begin(worker, current)
    worker.store.remember_call(late, 1, "p-1")
    worker.store.remember_call(current, 2, "p-2")
    assert begin(worker, after_a_crash(worker))[:5] == (True, False, 2, 2, "p-2")


def test_an_id_that_comes_after_the_end_is_noted_and_nothing_is_taken_up(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    begin(worker, claimed)
    worker.store.finish_call(claimed, 1, FAILED)
    worker.store.remember_call(claimed, 1, "p-1")
    assert calls(worker.connection, job_id)[0]["provider_ref"] == "p-1"
    assert begin(worker, claimed)[:5] == (True, False, 1, 2, None)


def test_nothing_is_taken_up_once_somebody_asked_to_cancel(worker: Worker, job_id: UUID) -> None:
    claimed = remembered(worker)
    cancel(worker.connection, job_id)
    assert begin(worker, claimed)[:5] == (True, True, 1, None, None)


def test_nothing_is_taken_up_by_a_worker_that_lost_the_job(worker: Worker, job_id: UUID) -> None:
    late = remembered(worker)
    after_a_crash(worker)
    assert begin(worker, late).held is False


def test_after_a_failure_that_leaves_the_call_open_it_is_taken_up(worker: Worker, job_id: UUID) -> None:
    claimed = remembered(worker)
    worker.settle(claimed, RETRY)
    worker.promote_now()
    assert begin(worker, worker.claim_one()).resume == "p-1"


def test_calls_of_other_jobs_stay_theirs(worker: Worker, connection: Connection, job_id: UUID) -> None:
    first = remembered(worker)
    enqueue(connection)
    assert begin(worker, worker.claim_one())[:5] == (True, False, 0, 1, None)
    worker.settle(first, COMPLETED)


def test_a_call_without_an_id_cannot_be_marked_as_kept(worker: Worker, connection: Connection, job_id: UUID) -> None:
    begin(worker, worker.claim_one())
    with pytest.raises(CheckViolation):
        connection.execute("UPDATE provider_call SET resumable = true")
