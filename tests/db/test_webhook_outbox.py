"""What is written when something happens that an endpoint is to be told of."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from generation_worker.db.ledger import find_violations
from generation_worker.domain.job import Job
from tests.support.database import SCHEMA, Connection, Database, queries_on
from tests.support.gates import FAR, Fleet
from tests.support.jobs import balance, configure, enqueue, enqueue_all, grant, job, put_row
from tests.support.protocol import BLOCKED, CANCELLED, COMPLETED, GAVE_UP, RETRY, Worker, cancel
from tests.support.races import at_once
from tests.support.webhooks import Box, outbox, put_endpoint, told

LONG_AGO = sql.SQL("now() - interval '1 hour'")


def work(connection: Connection, worker: Worker, **request: Any) -> Job:
    """A job that is being processed."""
    enqueue(connection, **request)
    return worker.claim_one()


@pytest.mark.parametrize(
    ("settlement", "event"),
    [(COMPLETED, "completed"), (GAVE_UP, "failed"), (BLOCKED, "failed"), (CANCELLED, "cancelled")],
)
def test_each_end_of_a_job_is_written_once(connection: Connection, worker: Worker, settlement: Any, event: str):
    grant(connection)
    one, other = put_endpoint(connection), put_endpoint(connection)
    ended = work(connection, worker)
    worker.settle(ended, settlement)
    assert worker.settle(ended, settlement) == event  # asked again after a lost answer
    written = outbox(connection)
    assert {row["endpoint_id"] for row in written} == {one, other}
    assert len(written) == 2
    for row in written:
        assert (row["event"], row["job_id"], row["status"]) == (f"job.{event}", UUID(ended.id), "pending")
        body = json.loads(row["body"])
        assert body["type"] == f"job.{event}"
        assert datetime.fromisoformat(body["timestamp"]) == job(connection, UUID(ended.id))["finished_at"]


def test_the_message_says_what_became_of_the_job_and_not_what_it_asks_for(connection: Connection, worker: Worker):
    grant(connection)
    put_endpoint(connection)
    ended = work(connection, worker, payload={"prompt": "a secret wish"}, idempotency_key="order-1", cost=3)
    worker.settle(ended, COMPLETED)
    [(_, data)] = told(connection)
    row = job(connection, UUID(ended.id))
    assert {name: data[name] for name in ("id", "kind", "user_id", "status", "provider", "cost", "result")} == {
        "id": ended.id, "kind": "text_to_image", "user_id": "ada", "status": "completed", "provider": "local",
        "cost": 3, "result": row["result"],
    }  # fmt: skip
    assert (data["idempotency_key"], data["refunded"], data["error_code"]) == ("order-1", False, None)
    assert datetime.fromisoformat(data["finished_at"]) == row["finished_at"]
    assert "secret wish" not in outbox(connection)[0]["body"]


def test_a_failure_says_why_and_that_the_credits_came_back(connection: Connection, worker: Worker):
    grant(connection)
    put_endpoint(connection)
    worker.settle(work(connection, worker), BLOCKED)
    [(_, data)] = told(connection)
    assert (data["error_code"], data["error_message"], data["refunded"]) == ("content_blocked", "SAFETY", True)


def test_the_message_does_not_depend_on_who_ends_the_job(connection: Connection, worker: Worker, database: Database):
    """A timestamp is written in the time zone of the session, unless somebody sees to it."""
    put_endpoint(connection)
    elsewhere = database.connect_direct()
    elsewhere.execute("SET timezone = 'Asia/Kathmandu'")
    waiting = enqueue(connection, cost=0)
    cancel(elsewhere, waiting)
    [(_, data)] = told(connection)
    assert data["finished_at"].endswith("Z")
    assert datetime.fromisoformat(data["finished_at"]) == job(connection, waiting)["finished_at"]


def test_what_is_not_an_end_is_not_written(connection: Connection, worker: Worker):
    grant(connection)
    put_endpoint(connection)
    started = work(connection, worker)
    worker.renew(started)
    worker.settle(started, RETRY)
    worker.promote_now()
    assert outbox(connection) == []


def test_ends_without_a_settlement_are_written(connection: Connection, worker: Worker):
    """By cancel_generation, past the deadline, at the claim of somebody who cannot pay, by hand."""
    grant(connection, amount=1)
    put_endpoint(connection)
    cancel(connection, enqueue(connection))
    enqueue(connection, deadline_at=sql.SQL("now() - interval '1 s'"), run_at=sql.SQL("now() - interval '2 s'"))
    worker.store.expire_jobs(limit=10)
    enqueue(connection, cost=1)
    connection.execute("SELECT adjust_credits('ada', -1, reason => 'a mistake')")
    worker.claim()
    by_hand = enqueue(connection, cost=0)
    connection.execute("UPDATE generation_job SET status = 'cancelled', finished_at = now() WHERE id = %s", (by_hand,))
    assert [(event, data["error_code"]) for event, data in told(connection)] == [
        ("job.cancelled", None), ("job.failed", "deadline_exceeded"), ("job.failed", "insufficient_credits"),
        ("job.cancelled", None),
    ]  # fmt: skip


def test_many_ends_of_one_statement_are_written_together(connection: Connection, worker: Worker):
    grant(connection)
    put_endpoint(connection)
    for _ in range(20):
        enqueue(connection)
    jobs = worker.claim(20).jobs
    worker.store.settle_attempts([(each, COMPLETED) for each in jobs])
    assert {row["job_id"] for row in outbox(connection)} == {UUID(each.id) for each in jobs}


def test_what_is_rolled_back_is_not_told(connection: Connection, worker: Worker):
    put_endpoint(connection)
    grant(connection)
    waiting = enqueue(connection)
    with connection.transaction(force_rollback=True):
        cancel(connection, waiting)
        assert len(outbox(connection)) == 1
    assert outbox(connection) == []


def test_an_endpoint_is_told_what_it_asked_for(connection: Connection, worker: Worker):
    grant(connection, "ada")
    grant(connection, "bob")
    everyone = put_endpoint(connection, events=["job.completed"])
    adas = put_endpoint(connection, user_id="ada")
    disabled = put_endpoint(connection, disabled_at=LONG_AGO, disabled_for="gone")
    worker.settle(work(connection, worker, user="ada"), COMPLETED)
    worker.settle(work(connection, worker, user="ada"), GAVE_UP)
    worker.settle(work(connection, worker, user="bob"), COMPLETED)
    written = [(row["endpoint_id"], row["event"]) for row in outbox(connection)]
    assert sorted(written, key=str) == sorted(
        [(everyone, "job.completed"), (everyone, "job.completed"), (adas, "job.completed"), (adas, "job.failed")],
        key=str,
    )
    assert disabled not in {endpoint for endpoint, _ in written}


def test_nothing_is_written_for_nobody(connection: Connection, worker: Worker):
    grant(connection)
    for one in enqueue_all(connection, count=2):
        cancel(connection, one["id"])
    assert outbox(connection) == []
    assert connection.execute("SELECT count(*) FROM webhook_batch").fetchone() == (0,)


def test_settled_and_cancelled_at_once_it_is_told_once(connection: Connection, worker: Worker, database: Database):
    grant(connection, amount=100)
    put_endpoint(connection, enabled_since=LONG_AGO)
    for _ in range(20):
        running = work(connection, worker)
        at_once(
            database,
            [
                lambda c, running=running: Worker(c).settle(running, GAVE_UP),
                lambda c, running=running: cancel(c, running.id),
                lambda c, running=running: Worker(c).settle(running, COMPLETED),
            ],
        )
    written = outbox(connection)
    assert len({row["job_id"] for row in written}) == len(written) == 20
    for row in written:
        assert row["event"] == f"job.{job(connection, row['job_id'])['status']}"
    assert balance(connection) == 100 - sum(row["event"] == "job.completed" for row in written)
    assert find_violations(queries_on(connection), max_paid_calls=2) == []


def test_a_role_without_a_right_to_the_outbox_ends_jobs_all_the_same(
    connection: Connection, worker: Worker, database: Database
):
    """A new version's tables are there before anybody was granted them."""
    role = sql.Identifier(f"old_{uuid4().hex[:8]}")
    put_endpoint(connection)
    waiting = enqueue(connection, cost=0)
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(SCHEMA), role))
    connection.execute(sql.SQL("GRANT SELECT, UPDATE ON generation_job TO {}").format(role))
    try:
        other = database.connect_direct()
        other.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
        other.execute("UPDATE generation_job SET status = 'cancelled', finished_at = now() WHERE id = %s", (waiting,))
        other.close()
        assert [event for event, _ in told(connection)] == ["job.cancelled"]
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


# batches


def test_a_batch_is_told_of_when_its_last_job_has_ended(connection: Connection, worker: Worker):
    grant(connection)
    put_endpoint(connection, events=["batch.finished"], user_id="ada")
    batch = enqueue_all(connection, count=3)
    box = Box(connection)
    worker.settle(worker.claim_one(), COMPLETED)
    worker.settle(worker.claim_one(), GAVE_UP)
    assert box.finish_batches(limit=10) == 0
    last = worker.claim_one()
    assert box.finish_batches(limit=10) == 0
    worker.settle(last, CANCELLED)
    assert box.finish_batches(limit=10) == 1
    [(event, data)] = told(connection)
    finished_at = data.pop("finished_at")
    assert datetime.fromisoformat(finished_at) == job(connection, UUID(last.id))["finished_at"]
    assert (event, data) == (
        "batch.finished",
        {"batch_id": str(batch[0]["batch"]), "user_id": "ada", "jobs": 3, "completed": 1, "failed": 1, "cancelled": 1},
    )
    assert box.finish_batches(limit=10) == 0


def test_a_batch_whose_last_jobs_end_at_once_is_told_of_once(
    connection: Connection, worker: Worker, database: Database
):
    """Neither of the two sees the other's end; and two couriers look at the same moment."""
    grant(connection)
    put_endpoint(connection, events=["batch.finished"])
    for _ in range(10):
        enqueue_all(connection, count=2)
        one, other = worker.claim(2).jobs
        at_once(
            database,
            [
                lambda c, one=one: (Worker(c).settle(one, COMPLETED), Box(c).finish_batches(limit=10)),
                lambda c, other=other: (Worker(c).settle(other, COMPLETED), Box(c).finish_batches(limit=10)),
            ],
        )
        Box(connection).finish_batches(limit=10)
    batches = [data["batch_id"] for _, data in told(connection)]
    assert len(batches) == len(set(batches)) == 10


def test_of_a_batch_of_several_users_each_is_told_their_part(connection: Connection, worker: Worker):
    batch = uuid4()
    put_endpoint(connection, events=["batch.finished"], user_id="ada")
    everyone = put_endpoint(connection, events=["batch.finished"])
    adas = enqueue(connection, "ada", cost=0, batch_id=batch)
    bobs = enqueue(connection, "bob", cost=0, batch_id=batch)
    cancel(connection, adas)
    Box(connection).finish_batches(limit=10)
    assert [(data["user_id"], data["jobs"]) for _, data in told(connection)] == [("ada", 1)]
    cancel(connection, bobs)
    Box(connection).finish_batches(limit=10)
    assert outbox(connection)[1]["endpoint_id"] == everyone
    assert [(data["user_id"], data["jobs"]) for _, data in told(connection)] == [("ada", 1), (None, 2)]


# breakers


def test_a_breaker_that_opens_is_told_of_once(connection: Connection):
    fleet = Fleet(connection)
    fleet.register(FAR)
    everyone = put_endpoint(connection)
    put_endpoint(connection, user_id="ada")
    opening = """
      UPDATE provider_gate SET breaker = 'open', opened_at = now(), open_until = now(), opened_for = 'the key is bad'
    """
    for _ in range(2):
        connection.execute(opening.encode())
    [row] = outbox(connection)
    assert (row["endpoint_id"], row["event"]) == (everyone, "breaker.opened")
    data = json.loads(row["body"])["data"]
    assert (data["provider"], data["reason"]) == ("far", "the key is bad")


# credits


@pytest.fixture
def poor(connection: Connection) -> tuple[UUID, UUID]:
    """Endpoints of everybody and of ada, who has twelve credits; below ten it is few."""
    grant(connection, "ada", 12)
    grant(connection, "bob", 5)
    return put_endpoint(connection, events=["credits.low"]), put_endpoint(
        connection, user_id="ada", events=["credits.low"]
    )


def spend(connection: Connection, worker: Worker, user: str, jobs: int) -> None:
    for _ in range(jobs):
        enqueue(connection, user, cost=1)
    worker.claim()


def test_a_balance_that_falls_below_the_threshold_is_told_once_to_each_endpoint(
    connection: Connection, worker: Worker, poor: tuple[UUID, UUID]
):
    put_endpoint(connection, user_id="bob", events=["credits.low"])
    configure(connection, caller_may_set_cost=True)
    spend(connection, worker, "ada", 2)
    assert outbox(connection) == []
    spend(connection, worker, "ada", 3)
    spend(connection, worker, "ada", 2)
    spend(connection, worker, "bob", 2)
    assert {row["endpoint_id"] for row in outbox(connection)} == set(poor)
    for event, data in told(connection):
        assert event == "credits.low"
        assert data | {"job_id": None} == {"user_id": "ada", "balance": 9, "threshold": 10, "job_id": None}


def test_a_balance_that_was_raised_may_run_low_again(connection: Connection, worker: Worker, poor: tuple[UUID, UUID]):
    configure(connection, caller_may_set_cost=True, credits_low=11)
    spend(connection, worker, "ada", 2)
    grant(connection, "ada", 1)
    spend(connection, worker, "ada", 1)
    assert [row["endpoint_id"] for row in outbox(connection)].count(poor[0]) == 2


def test_nobody_is_told_of_a_balance_with_a_threshold_of_nothing_or_a_disabled_endpoint(
    connection: Connection, worker: Worker, poor: tuple[UUID, UUID]
):
    configure(connection, caller_may_set_cost=True, credits_low=0)
    spend(connection, worker, "ada", 12)
    configure(connection, credits_low=100)
    connection.execute("UPDATE webhook_endpoint SET disabled_at = now(), disabled_for = 'tired'")
    put_endpoint(connection, user_id="bob", events=["credits.low"])
    grant(connection, "ada", 100)
    spend(connection, worker, "ada", 2)
    assert outbox(connection) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": []}, {"events": ["job.begun"]}, {"user_id": "ada", "events": ["breaker.opened"]}, {"secret": "abc"},
        {"old_secret": "whsec_aaaa"}, {"disabled_at": LONG_AGO}, {"url": ""},
    ],
)  # fmt: skip
def test_what_the_checks_refuse_is_no_endpoint(connection: Connection, wrong: dict[str, Any]):
    with pytest.raises(psycopg.errors.CheckViolation):
        put_endpoint(connection, **wrong)


def test_each_end_is_in_the_outbox_once_for_each_endpoint(connection: Connection):
    row: dict[str, Any] = {"endpoint_id": uuid4(), "event": "job.failed", "job_id": uuid4(), "body": "{}"}
    put_row(connection, "webhook_delivery", **row)
    with pytest.raises(psycopg.errors.UniqueViolation):
        put_row(connection, "webhook_delivery", **row)
