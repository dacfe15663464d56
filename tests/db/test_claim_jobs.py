"""The claim: who starts, in which order, and who pays for it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from generation_worker.domain.job import LANE_START, Job
from generation_worker.ports import Claim
from tests.support.database import Connection, Database
from tests.support.jobs import (
    PROMPT,
    TRACEPARENT,
    balance,
    change_job,
    configure,
    enqueue,
    grant,
    job,
    put_job,
    put_row,
)
from tests.support.protocol import CRASHED, LEASE, LIMITED, RELEASED, RETRY, Worker, entries, everything, put_endless
from tests.worker.scripted_store import NO_CLAIM

SHRINK = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail"}]}
SOON = sql.SQL("clock_timestamp() + interval '1 hour'")


def ids(jobs: list[Job]) -> list[UUID]:
    return [UUID(claimed.id) for claimed in jobs]


def refused(claim: Claim) -> list[tuple[str, str]]:
    return [(refusal.id, refusal.user_id) for refusal in claim.refused]


def in_line(connection: Connection, user: str, *costs: int) -> list[UUID]:
    """Jobs of these costs, in this order, whatever the user's balance."""
    return [
        put_row(
            connection,
            "generation_job",
            kind="text_to_image",
            user_id=user,
            provider="local",
            payload=PROMPT,
            cost=cost,
            position=sql.SQL("clock_timestamp() + interval '{} seconds'").format(sql.Literal(place)),
        )["id"]
        for place, cost in enumerate(costs)
    ]


# what a claim makes of a job


def test_a_claimed_job_is_processing_and_leased_to_the_worker(worker: Worker, connection: Connection) -> None:
    grant(connection)
    job_id = enqueue(connection)
    claimed = worker.claim_one()
    row = job(connection, job_id)
    assert (row["status"], row["attempt"], row["locked_by"]) == ("processing", 1, "worker-1")
    assert str(row["lease_token"]) == claimed.lease_token
    assert row["lease_expires_at"] - row["locked_at"] == pytest.approx(
        timedelta(seconds=LEASE), abs=timedelta(seconds=1)
    )
    assert row["started_at"] is not None


def test_the_worker_learns_what_it_needs_to_know(worker: Worker, connection: Connection) -> None:
    grant(connection)
    job_id = enqueue(connection, cost=3, priority=-2, traceparent=TRACEPARENT)
    claimed = worker.claim_one(max_attempts=7)
    assert claimed._replace(payload="", lease_token="", seconds_left=0, waited=0, age=0) == Job(
        id=str(job_id),
        kind="text_to_image",
        user_id="ada",
        provider="local",
        payload="",
        cost=3,
        attempt=1,
        max_attempts=7,
        crashes=0,
        waits=0,
        lease_token="",
        seconds_left=0,
        key_label=None,
        permit=None,
        cursor=claimed.cursor,
        traceparent=TRACEPARENT,
    )
    assert claimed.payload == json.dumps(PROMPT)
    assert claimed.seconds_left == pytest.approx(86_400, abs=5)
    assert (claimed.cursor.priority, claimed.cursor.id) == (-2, str(job_id))


@pytest.mark.parametrize(
    ("run_at", "created_at", "waited"),
    [("now() - interval '1 hour'", "now() - interval '2 hours'", 3600), ("now() - interval '9 hours'", "now()", 0)],
)
def test_a_job_has_waited_since_it_might_have_started(
    worker: Worker, connection: Connection, run_at: str, created_at: str, waited: float
) -> None:
    put_job(connection, run_at=sql.SQL(run_at), created_at=sql.SQL(created_at))  # pyright: ignore[reportArgumentType]
    assert worker.claim_one().waited == pytest.approx(waited, abs=30)


def test_a_job_is_as_old_as_its_enqueueing(worker: Worker, connection: Connection) -> None:
    put_job(connection, created_at=sql.SQL("now() - interval '2 hours'"))
    assert worker.claim_one().age == pytest.approx(7200, abs=30)


def test_a_job_that_cannot_be_paid_is_told_with_its_age_and_its_trace(worker: Worker, connection: Connection) -> None:
    put_job(connection, cost=5, created_at=sql.SQL("now() - interval '2 hours'"), traceparent=TRACEPARENT)
    [poor] = worker.claim().refused
    assert (poor.traceparent, poor.age) == (TRACEPARENT, pytest.approx(7200, abs=30))


def test_max_attempts_are_filled_in_once_by_the_worker_that_starts_the_job(
    worker: Worker, connection: Connection
) -> None:
    grant(connection)
    job_id = enqueue(connection)
    worker.settle(worker.claim_one(max_attempts=7), RELEASED)
    assert worker.claim_one(max_attempts=2).max_attempts == 7
    assert job(connection, job_id)["max_attempts"] == 7


def test_max_attempts_of_the_request_win(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection, max_attempts=1)
    assert worker.claim_one(max_attempts=7).max_attempts == 1


def test_each_claim_has_a_token_of_its_own(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    first = worker.claim_one()
    worker.settle(first, RELEASED)
    assert worker.claim_one().lease_token != first.lease_token


def test_a_job_that_was_claimed_is_not_claimed_again(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    worker.claim_one()
    assert worker.claim().jobs == []


def test_a_later_attempt_keeps_the_time_at_which_the_job_started(worker: Worker, connection: Connection) -> None:
    grant(connection)
    job_id = enqueue(connection)
    worker.settle(worker.claim_one(), RETRY)
    started_at = job(connection, job_id)["started_at"]
    worker.promote_now()
    assert worker.claim_one().attempt == 2
    assert job(connection, job_id)["started_at"] == started_at


# money


def test_a_job_is_debited_when_it_starts(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=10)
    job_id = enqueue(connection, cost=3)
    assert entries(connection) == [("grant", 10, 10)]
    worker.claim_one()
    assert entries(connection) == [("grant", 10, 10), ("debit", -3, 7)]
    assert (balance(connection), job(connection, job_id)["debited"]) == (7, True)


@pytest.mark.parametrize("settlement", [RETRY, LIMITED, RELEASED, CRASHED], ids=lambda s: s.outcome)
def test_a_job_is_debited_once_however_often_it_starts(worker: Worker, connection: Connection, settlement: Any) -> None:
    grant(connection, amount=10)
    enqueue(connection, cost=3)
    for _ in range(3):
        worker.settle(worker.claim_one(), settlement)
        worker.promote_now()
    assert entries(connection) == [("grant", 10, 10), ("debit", -3, 7)]


def test_a_debited_job_starts_again_though_the_account_is_empty_now(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=3)
    enqueue(connection, cost=3)
    worker.settle(worker.claim_one(), RELEASED)
    assert worker.claim_one().attempt == 1


def test_a_job_that_costs_nothing_needs_no_account(worker: Worker, connection: Connection) -> None:
    job_id = enqueue(connection, user="nobody", kind="image_processing", payload=SHRINK)
    assert ids(worker.claim().jobs) == [job_id]
    assert entries(connection, "nobody") == []
    assert job(connection, job_id)["debited"] is False


def test_the_entries_of_one_claim_are_a_chain_in_the_order_of_the_line(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=10)
    in_line(connection, "ada", 1, 2, 3)
    assert len(worker.claim().jobs) == 3
    assert entries(connection)[1:] == [("debit", -1, 9), ("debit", -2, 7), ("debit", -3, 4)]


def test_a_job_that_cannot_be_paid_fails_without_a_refund(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=2)
    (job_id,) = in_line(connection, "ada", 3)
    claim = worker.claim()
    assert claim.jobs == []
    assert refused(claim) == [(str(job_id), "ada")]
    row = job(connection, job_id)
    assert (row["status"], row["error_code"]) == ("failed", "insufficient_credits")
    assert row["error_message"] == "The balance of 2 does not cover the cost of 3."
    assert (row["attempt"], row["debited"], row["started_at"]) == (0, False, None)
    assert entries(connection) == [("grant", 2, 2)]


def test_a_user_without_an_account_has_nothing(worker: Worker, connection: Connection) -> None:
    (job_id,) = in_line(connection, "nobody", 1)
    assert refused(worker.claim()) == [(str(job_id), "nobody")]
    assert connection.execute("SELECT FROM credit_account").fetchall() == []


def test_a_balance_is_spent_in_the_order_of_the_line(worker: Worker, connection: Connection) -> None:
    """What still fits behind the first that does not is left for the next claim, when it is known what was refused."""
    grant(connection, amount=5)
    three, four, two, one = in_line(connection, "ada", 3, 4, 2, 1)
    first = worker.claim()
    assert ids(first.jobs) == [three]
    assert refused(first) == [(str(four), "ada")]
    assert [job(connection, left)["status"] for left in (two, one)] == ["pending", "pending"]
    second = worker.claim()
    assert ids(second.jobs) == [two]
    assert refused(second) == [(str(one), "ada")]
    assert balance(connection) == 0


def test_a_free_job_starts_behind_one_that_cannot_be_paid(worker: Worker, connection: Connection) -> None:
    dear, free = in_line(connection, "ada", 1, 0)
    claim = worker.claim()
    assert (ids(claim.jobs), refused(claim)) == ([free], [(str(dear), "ada")])


def test_what_one_user_cannot_pay_is_nothing_to_another(worker: Worker, connection: Connection) -> None:
    grant(connection, "bob", 1)
    poor, rich = in_line(connection, "ada", 5)[0], in_line(connection, "bob", 1)[0]
    claim = worker.claim()
    assert (ids(claim.jobs), refused(claim)) == ([rich], [(str(poor), "ada")])
    assert balance(connection, "bob") == 0


def test_the_largest_debits_do_not_overflow(worker: Worker, connection: Connection) -> None:
    grant(connection, amount=5_000_000_000)
    in_line(connection, "ada", *[1_000_000_000] * 6)
    assert len(worker.claim().jobs) == 5
    assert balance(connection) == 0


# order


def test_jobs_start_by_priority_then_position_then_id(worker: Worker, connection: Connection) -> None:
    late, soon = sql.SQL("'2030-01-02'::timestamptz"), sql.SQL("'2030-01-01'::timestamptz")
    twins = sorted(put_job(connection, priority=1, position=soon) for _ in range(3))
    third = put_job(connection, priority=1, position=late)
    first = put_job(connection, priority=-1, position=late)
    assert [ids(worker.claim(1).jobs)[0] for _ in range(5)] == [first, *twins, third]


def test_users_take_turns(worker: Worker, connection: Connection) -> None:
    for user in ("ada", "bob"):
        grant(connection, user)
    for user in ("ada", "ada", "ada", "bob", "bob"):
        enqueue(connection, user)
    assert [worker.claim_one().user_id for _ in range(5)] == ["ada", "bob", "ada", "bob", "ada"]


def test_no_more_jobs_start_than_there_are_idle_threads(worker: Worker, connection: Connection) -> None:
    for provider in ("local", "replicate"):
        for _ in range(3):
            put_job(connection, provider=provider)
    worker.lanes = ("local", "replicate", "none")
    assert [len(worker.claim(2).jobs) for _ in range(4)] == [2, 2, 2, 0]


def test_lanes_share_the_threads_by_priority(worker: Worker, connection: Connection) -> None:
    for priority in range(4):
        put_job(connection, provider=("local", "replicate")[priority % 2], priority=priority)
    worker.lanes = ("local", "replicate")
    places = [[claimed.cursor.priority for claimed in worker.claim(2).jobs] for _ in range(2)]
    assert [sorted(place) for place in places] == [[0, 1], [2, 3]]


def test_a_lane_that_the_worker_does_not_have_is_left_alone(worker: Worker, connection: Connection) -> None:
    put_job(connection, provider="gemini")
    assert worker.claim().jobs == []


@pytest.mark.parametrize("method", ["hashjoin", "nestloop", "mergejoin", "sort", "indexscan", "material"])
def test_no_plan_makes_a_claim_take_too_many(worker: Worker, connection: Connection, method: str) -> None:
    for _ in range(20):
        put_job(connection)
    with connection.transaction():
        connection.execute(f"SET LOCAL enable_{method} = off".encode())
        assert len(worker.claim(3).jobs) == 3
        assert len(worker.claim(3).jobs) == 3


# what is not claimed


@pytest.mark.parametrize("status", ["scheduled", "rate_limited"])
def test_a_job_that_waits_for_its_time_is_not_claimed_until_promoted(
    worker: Worker, connection: Connection, status: str
) -> None:
    job_id = put_job(connection, status, run_at=sql.SQL("clock_timestamp() - interval '1 hour'"))
    assert worker.claim().jobs == []
    worker.promote_now()
    assert ids(worker.claim().jobs) == [job_id]


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
def test_a_job_that_runs_or_is_over_is_not_claimed(worker: Worker, connection: Connection, status: str) -> None:
    put_job(connection, status)
    before = everything(connection)
    assert worker.claim() == NO_CLAIM
    assert everything(connection) == before


def test_a_job_that_somebody_else_looks_at_is_skipped(worker: Worker, database: Database) -> None:
    locked, free = put_job(worker.connection, priority=0), put_job(worker.connection, priority=1)
    other = database.connect(autocommit=False)
    other.execute("SELECT FROM generation_job WHERE id = %s FOR NO KEY UPDATE", (locked,))
    assert ids(worker.claim().jobs) == [free]
    other.rollback()
    assert ids(worker.claim().jobs) == [locked]


# low-water marks


def test_a_claim_begins_at_the_mark(worker: Worker, connection: Connection) -> None:
    first, second, third = (put_job(connection, priority=priority) for priority in range(3))
    mark = worker.claim_one().cursor
    assert UUID(mark.id) == first
    earlier = put_job(connection, priority=-1)
    assert ids(worker.claim(marks={"local": mark}).jobs) == [second, third]
    assert ids(worker.claim(marks={"local": LANE_START}).jobs) == [earlier]


def test_the_job_at_the_mark_itself_is_seen(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    claimed = worker.claim_one()
    worker.settle(claimed, RELEASED)
    assert ids(worker.claim(marks={"local": claimed.cursor}).jobs) == [UUID(claimed.id)]


def test_a_mark_is_of_one_lane(worker: Worker, connection: Connection) -> None:
    put_job(connection, priority=5)
    mark = worker.claim_one().cursor
    other = put_job(connection, provider="replicate", priority=0)
    worker.lanes = ("local", "replicate")
    assert ids(worker.claim(marks={"local": mark}).jobs) == [other]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
@pytest.mark.parametrize("style", ["ISO, MDY", "SQL, DMY", "German", "Postgres, MDY"])
def test_a_mark_comes_back_as_it_went_whatever_the_session_writes_dates_like(
    worker: Worker, connection: Connection, zone: str, style: str
) -> None:
    before, at = sql.SQL("'2031-02-03 04:05:06.123456Z'"), sql.SQL("'2031-02-03 04:05:06.123457Z'")
    put_job(connection, position=before)
    put_job(connection, position=at)
    after = put_job(connection, position=at, id=UUID(int=2**128 - 1))
    with connection.transaction():
        connection.execute(f"SET LOCAL timezone = '{zone}'".encode())
        connection.execute(f"SET LOCAL datestyle = '{style}'".encode())
        mark = max(claimed.cursor for claimed in worker.claim(2).jobs)
        connection.execute(
            "INSERT INTO generation_job (kind, user_id, provider, payload, cost, position) "
            "VALUES ('text_to_image', 'ada', 'local', '{}', 0, '2031-02-03 04:05:06.1Z')"
        )
        assert ids(worker.claim(marks={"local": mark}).jobs) == [after]


# rows that a person or another program wrote


def test_a_row_of_the_fewest_columns_is_a_job(worker: Worker, connection: Connection) -> None:
    grant(connection)
    connection.execute(
        "INSERT INTO generation_job (kind, user_id, provider, payload, cost)"
        " VALUES ('text_to_image', 'ada', 'local', '{}', 1)"
    )
    claimed = worker.claim_one()
    assert (claimed.payload, claimed.max_attempts) == ("{}", 4)
    assert balance(connection) == 99


@pytest.mark.parametrize("column", ["created_at", "deadline_at", "position", "run_at"])
@pytest.mark.parametrize("end", ["infinity", "-infinity"])
def test_a_row_without_an_end_does_not_hold_up_the_others(
    worker: Worker, connection: Connection, column: str, end: str
) -> None:
    put_endless(connection, "pending", column, end, priority=-1)
    ordinary = put_job(connection)
    assert ordinary in ids(worker.claim().jobs)


def test_fewer_attempts_than_there_were_do_not_hold_up_the_others(worker: Worker, connection: Connection) -> None:
    grant(connection)
    job_id = enqueue(connection)
    worker.settle(worker.claim_one(), RETRY)
    change_job(connection, job_id, max_attempts=1)
    worker.promote_now()
    ordinary = put_job(connection)
    assert ordinary in ids(worker.claim().jobs)


def test_a_job_past_its_deadline_is_claimed_with_no_time_left(worker: Worker, connection: Connection) -> None:
    """Expiry and claim race. Whoever is first, the job fails with its refund: its attempt ends when it begins."""
    put_job(connection, deadline_at=sql.SQL("clock_timestamp() - interval '1 minute'"))
    assert worker.claim_one().seconds_left == pytest.approx(-60, abs=5)


def test_prices_that_change_later_change_no_debit(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    configure(connection, price__text_to_image=50)
    worker.claim_one()
    assert balance(connection) == 99
