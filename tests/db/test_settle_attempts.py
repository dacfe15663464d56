"""The settlement: state, history and refund of an attempt that ended, together, behind the fence."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from generation_worker.domain.job import FINAL
from generation_worker.domain.settlement import Settlement
from tests.support.database import Connection
from tests.support.jobs import balance, change_job, enqueue, grant, job
from tests.support.protocol import (
    BLOCKED,
    CANCELLED,
    COMPLETED,
    CRASHED,
    CRASHED_TOO_OFTEN,
    EXPIRED,
    GAVE_UP,
    LIMITED,
    LIMITED_TOO_OFTEN,
    RELEASED,
    RETRY,
    SETTLEMENTS,
    Worker,
    attempts,
    cancel,
    entries,
    everything,
)

every_settlement = pytest.mark.parametrize("settlement", SETTLEMENTS.values(), ids=list(SETTLEMENTS))


@pytest.fixture
def job_id(worker: Worker, connection: Connection) -> UUID:
    """A job of ada's that costs 3 of her 10 credits."""
    grant(connection, amount=10)
    return enqueue(connection, cost=3)


# transitions


@every_settlement
def test_a_job_has_the_state_that_was_decided(worker: Worker, job_id: UUID, settlement: Settlement) -> None:
    assert worker.settle(worker.claim_one(), settlement) == settlement.status
    row = job(worker.connection, job_id)
    assert row["status"] == settlement.status
    assert (row["error_code"], row["error_message"]) == (settlement.error_code, settlement.error_message)
    assert row["result"] == settlement.result
    assert row["lease_token"] is row["locked_by"] is row["locked_at"] is row["lease_expires_at"] is None
    assert (row["finished_at"] is not None) == (settlement.status in FINAL)


@every_settlement
def test_a_failed_or_cancelled_job_is_refunded_and_no_other(
    worker: Worker, job_id: UUID, settlement: Settlement
) -> None:
    worker.settle(worker.claim_one(), settlement)
    refund = [("refund", 3, 10)] if settlement.status in ("failed", "cancelled") else []
    assert entries(worker.connection) == [("grant", 10, 10), ("debit", -3, 7), *refund]
    assert balance(worker.connection) == (10 if refund else 7)


@every_settlement
def test_the_attempt_stands_in_the_history(worker: Worker, job_id: UUID, settlement: Settlement) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, settlement)
    (attempt,) = attempts(worker.connection, job_id)
    assert (attempt["attempt"], attempt["worker"], attempt["outcome"]) == (1, "worker-1", settlement.outcome)
    assert (attempt["error_code"], attempt["error_message"]) == (settlement.error_code, settlement.error_message)
    assert str(attempt["lease_token"]) == claimed.lease_token
    assert attempt["started_at"] <= attempt["ended_at"]


@pytest.mark.parametrize(
    ("settlement", "attempt", "crashes", "waits"),
    [(RETRY, 1, 0, 0), (LIMITED, 0, 0, 1), (RELEASED, 0, 0, 0), (CRASHED, 1, 1, 0), (CRASHED_TOO_OFTEN, 1, 1, 0)],
    ids=lambda value: value.outcome if isinstance(value, Settlement) else None,
)
def test_attempts_crashes_and_waits_are_counted_apart(
    worker: Worker, job_id: UUID, settlement: Settlement, attempt: int, crashes: int, waits: int
) -> None:
    worker.settle(worker.claim_one(), settlement)
    row = job(worker.connection, job_id)
    assert (row["attempt"], row["crashes"], row["waits"]) == (attempt, crashes, waits)


@pytest.mark.parametrize("settlement", [RETRY, LIMITED, CRASHED], ids=lambda settlement: settlement.outcome)
def test_a_job_that_waits_is_due_after_its_delay(worker: Worker, job_id: UUID, settlement: Settlement) -> None:
    worker.settle(worker.claim_one(), settlement)
    row = worker.connection.execute(
        "SELECT run_at - clock_timestamp() FROM generation_job WHERE id = %s", (job_id,)
    ).fetchone()
    assert row is not None
    assert settlement.delay is not None
    assert row[0] == pytest.approx(timedelta(seconds=settlement.delay), abs=timedelta(seconds=4))


def test_a_released_job_can_be_claimed_at_once(worker: Worker, job_id: UUID) -> None:
    worker.settle(worker.claim_one(), RELEASED)
    assert UUID(worker.claim_one().id) == job_id


def test_a_completed_job_forgets_its_earlier_error(worker: Worker, job_id: UUID) -> None:
    worker.settle(worker.claim_one(), RETRY)
    worker.promote_now()
    worker.settle(worker.claim_one(), COMPLETED)
    row = job(worker.connection, job_id)
    assert (row["error_code"], row["error_message"], row["result"]) == (None, None, COMPLETED.result)


def test_a_job_that_cost_nothing_is_not_refunded(worker: Worker, connection: Connection) -> None:
    free = enqueue(connection, user="bob", cost=0)
    assert worker.settle(worker.claim_one(), GAVE_UP) == "failed"
    assert (job(connection, free)["debited"], entries(connection, "bob")) == (False, [])


def test_a_refund_goes_to_the_payer_and_points_at_the_debit(worker: Worker, job_id: UUID) -> None:
    worker.settle(worker.claim_one(), GAVE_UP)
    row = worker.connection.execute(
        "SELECT user_id, job_id, refund_of, reason FROM credit_entry WHERE kind = 'refund'"
    ).fetchone()
    assert row == ("ada", job_id, 2, "failed")


# the fence


@every_settlement
def test_a_late_settlement_changes_nothing(worker: Worker, job_id: UUID, settlement: Settlement) -> None:
    late = worker.claim_one(lease=EXPIRED)
    worker.store.reclaim_jobs(limit=10, lease=60)
    before = everything(worker.connection)
    assert worker.settle(late, settlement) is None
    assert everything(worker.connection) == before


@every_settlement
def test_a_late_settlement_changes_nothing_of_the_next_attempt(
    worker: Worker, job_id: UUID, settlement: Settlement
) -> None:
    late = worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    worker.settle(taken.job, replace(CRASHED, delay=0.0))
    worker.promote_now()
    current = worker.claim_one()
    before = everything(worker.connection)
    assert worker.settle(late, settlement) is None
    assert everything(worker.connection) == before
    assert worker.settle(current, COMPLETED) == "completed"


@every_settlement
def test_a_late_settlement_changes_nothing_of_a_final_job(worker: Worker, job_id: UUID, settlement: Settlement) -> None:
    late = worker.claim_one(lease=EXPIRED)
    (taken,) = worker.store.reclaim_jobs(limit=10, lease=60)
    worker.settle(taken.job, CRASHED_TOO_OFTEN)
    before = everything(worker.connection)
    assert worker.settle(late, settlement) is None
    assert everything(worker.connection) == before


def test_a_job_that_was_released_cannot_be_settled_by_who_released_it(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, RELEASED)
    before = everything(worker.connection)
    assert worker.settle(claimed, COMPLETED) is None
    assert everything(worker.connection) == before


def test_a_lease_that_ran_out_unnoticed_still_settles(worker: Worker, job_id: UUID) -> None:
    """Nobody took the job over, so the image that is there counts."""
    assert worker.settle(worker.claim_one(lease=EXPIRED), COMPLETED) == "completed"


# asked again


@every_settlement
def test_a_settlement_whose_answer_was_lost_says_the_same_again(
    worker: Worker, job_id: UUID, settlement: Settlement
) -> None:
    claimed = worker.claim_one()
    first = worker.settle(claimed, settlement)
    before = everything(worker.connection)
    assert worker.settle(claimed, settlement) == first == settlement.status
    assert everything(worker.connection) == before


def test_a_settlement_whose_answer_was_lost_is_told_apart_from_the_next_attempt(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.settle(claimed, RELEASED)
    worker.claim_one()
    before = everything(worker.connection)
    assert worker.settle(claimed, RELEASED) == "processing"
    assert everything(worker.connection) == before


# a request to cancel


@every_settlement
def test_a_request_to_cancel_prevents_another_attempt_and_lets_an_end_stand(
    worker: Worker, job_id: UUID, settlement: Settlement
) -> None:
    claimed = worker.claim_one()
    assert cancel(worker.connection, job_id) == ("processing", True)
    expected = settlement.status if settlement.status in FINAL else "cancelled"
    assert worker.settle(claimed, settlement) == expected
    row = job(worker.connection, job_id)
    assert (row["status"], row["attempt"]) == (expected, 1)
    assert balance(worker.connection) == (7 if expected == "completed" else 10)
    assert [attempt["outcome"] for attempt in attempts(worker.connection, job_id)] == [settlement.outcome]


def test_a_cancelled_job_that_cost_nothing_is_not_refunded(worker: Worker, connection: Connection) -> None:
    free = enqueue(connection, cost=0)
    claimed = worker.claim_one()
    cancel(connection, free)
    assert worker.settle(claimed, CANCELLED) == "cancelled"
    assert entries(connection) == []


# many at once


def test_a_batch_is_written_together_each_with_its_own_end(worker: Worker, connection: Connection) -> None:
    for user in ("ada", "bob"):
        grant(connection, user, 50)
        for _ in range(len(SETTLEMENTS)):
            enqueue(connection, user, cost=2)
    jobs = worker.claim().jobs
    decided = list(zip(jobs, [*SETTLEMENTS.values()] * 2, strict=True))
    answer = worker.store.settle_attempts(decided)
    assert answer == {claimed.id: settlement.status for claimed, settlement in decided}
    refunded = sum(2 for _, settlement in decided if settlement.status in ("failed", "cancelled"))
    assert balance(connection, "ada") + balance(connection, "bob") == 100 - 2 * len(decided) + refunded


def test_what_is_late_does_not_hold_up_the_rest_of_its_batch(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    late = worker.claim_one(lease=EXPIRED)
    worker.store.reclaim_jobs(limit=10, lease=60)
    enqueue(connection)
    current = worker.claim_one()
    assert worker.store.settle_attempts([(late, COMPLETED), (current, COMPLETED)]) == {current.id: "completed"}


def test_several_refunds_of_one_user_are_a_chain(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=10)
    for cost in (1, 2, 3):
        enqueue(connection, cost=cost)
    worker.store.settle_attempts([(claimed, BLOCKED) for claimed in worker.claim().jobs])
    booked = entries(connection)
    assert booked[-1][2] == balance(connection) == 10
    assert sorted(amount for kind, amount, _ in booked if kind == "refund") == [1, 2, 3]


def test_a_settlement_that_the_database_refuses_writes_nothing_of_its_batch(
    worker: Worker, connection: Connection
) -> None:
    grant(connection)
    for _ in range(2):
        enqueue(connection)
    sound, broken = worker.claim().jobs
    before = everything(connection)
    with pytest.raises(psycopg.DataError):
        worker.store.settle_attempts([(sound, COMPLETED), (broken, replace(COMPLETED, result={"name": "\0"}))])
    assert everything(connection) == before
    assert worker.settle(sound, COMPLETED) == "completed"


def test_nothing_to_settle_settles_nothing(worker: Worker) -> None:
    assert worker.store.settle_attempts([]) == {}


@pytest.mark.parametrize("method", ["hashjoin", "nestloop", "mergejoin", "indexscan", "material"])
def test_no_plan_settles_anything_but_what_was_named(worker: Worker, connection: Connection, method: str) -> None:
    grant(connection)
    for _ in range(6):
        enqueue(connection)
    named, others = worker.claim(3).jobs, worker.claim(3).jobs
    with connection.transaction():
        connection.execute(f"SET LOCAL enable_{method} = off".encode())
        assert len(worker.store.settle_attempts([(claimed, LIMITED_TOO_OFTEN) for claimed in named])) == 3
    assert {job(connection, UUID(other.id))["status"] for other in others} == {"processing"}


# rows that a person changed


def test_a_lost_account_is_refused_and_not_forgotten(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    worker.connection.execute("DELETE FROM credit_account")
    with pytest.raises(psycopg.DatabaseError):
        worker.settle(claimed, GAVE_UP)
    assert job(worker.connection, job_id)["status"] == "processing"


def test_a_deadline_that_somebody_moves_is_no_reason_to_refuse(worker: Worker, job_id: UUID) -> None:
    claimed = worker.claim_one()
    change_job(worker.connection, job_id, deadline_at="-infinity")
    assert worker.settle(claimed, COMPLETED) == "completed"


def test_a_result_is_stored_as_it_was_given(worker: Worker, job_id: UUID) -> None:
    result = {"images": [{"key": "images/凧.webp", "bytes": 2**40, "thumbnail_key": None}], "note": '"\\ %s'}
    worker.settle(worker.claim_one(), replace(COMPLETED, result=result))
    assert json.dumps(job(worker.connection, job_id)["result"], sort_keys=True) == json.dumps(result, sort_keys=True)
