"""The courier's statements: who gets a delivery, and what is left of a try."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import sql

from generation_worker.domain.webhook import LONGEST_FAILING, Judgement, Reply
from tests.support.database import Connection, Database
from tests.support.jobs import TRACEPARENT, put_job, put_row
from tests.support.protocol import cancel
from tests.support.races import many_at_once
from tests.support.webhooks import SECRET, URL, Box, endpoint, outbox, put_endpoint

NEVER_DUE = sql.SQL("now() + interval '1 hour'")
GONE = Judgement("dead", "it answered with status 410", gone=True)


def ago(seconds: float) -> sql.Composable:
    return sql.SQL("now() - {} * interval '1 s'").format(sql.Literal(seconds))


def put_message(connection: Connection, endpoint_id: UUID, **columns: Any) -> UUID:
    row = {"endpoint_id": endpoint_id, "event": "job.completed", "job_id": uuid4(), "body": '{"n": 1}', **columns}
    return put_row(connection, "webhook_delivery", **row)["id"]


def expire(connection: Connection) -> None:
    connection.execute("UPDATE webhook_delivery SET next_at = now() WHERE status = 'pending'")


@pytest.fixture
def box(connection: Connection) -> Box:
    return Box(connection)


def test_what_is_due_is_taken_with_all_that_sending_needs(connection: Connection, box: Box):
    told = put_endpoint(connection)
    due = put_message(connection, told)
    put_message(connection, told, next_at=NEVER_DUE)
    [taken] = box.take()
    assert (taken.id, taken.endpoint, taken.event, taken.url) == (str(due), str(told), "job.completed", URL)
    assert (list(taken.secrets), taken.body, taken.attempts, taken.failing) == ([SECRET], '{"n": 1}', 1, False)
    assert box.take() == []


def test_what_tells_of_a_job_has_its_trace(connection: Connection, box: Box):
    put_endpoint(connection, events=["job.cancelled"])
    job_id = put_job(connection, traceparent=TRACEPARENT)
    cancel(connection, job_id)
    [taken] = box.take()
    assert (taken.job, taken.traceparent) == (str(job_id), TRACEPARENT)


def test_each_is_taken_by_one(connection: Connection, database: Database):
    told = put_endpoint(connection)
    messages = {str(put_message(connection, told)) for _ in range(12)}
    taken = many_at_once(database, 4, lambda c: [delivery.id for delivery in Box(c).take(per_endpoint=3)])
    ids = [delivery for each in taken for delivery in each]
    assert len(ids) == len(set(ids)) == 12
    assert set(ids) == messages


def test_a_delivery_that_another_worker_is_claiming_is_passed_over(connection: Connection, database: Database):
    put_message(connection, put_endpoint(connection))
    connection.execute("SET lock_timeout = '5s'")
    with database.connect(autocommit=False) as other:
        [claimed] = Box(other).take()
        assert Box(connection).take() == []
        other.commit()
    assert Box(connection).take() == []
    assert claimed.attempts == 1


def test_after_its_lease_it_is_due_again_with_the_same_id_and_body(connection: Connection, box: Box):
    put_message(connection, put_endpoint(connection))
    [first] = box.take()
    expire(connection)
    [second] = box.take()
    assert (second.id, second.body, second.attempts) == (first.id, first.body, 2)
    assert second.token != first.token


def test_a_late_courier_changes_nothing(connection: Connection, box: Box):
    told = put_endpoint(connection)
    put_message(connection, told)
    [late] = box.take()
    expire(connection)
    [present] = box.take()
    assert not box.record_delivery(late, Reply(410), GONE).held
    assert endpoint(connection, told)["disabled_at"] is None
    assert box.deliver(present).held
    assert not box.fail(late).held
    [row] = outbox(connection)
    assert (row["status"], row["last_status"], row["last_error"]) == ("delivered", 204, None)
    assert not box.deliver(present).held


def test_a_failure_is_tried_again_later(connection: Connection, box: Box):
    told = put_endpoint(connection)
    put_message(connection, told)
    box.fail(box.take()[0], delay=60)
    [row] = outbox(connection)
    assert (row["status"], row["last_status"], row["last_error"]) == ("pending", 500, "status 500")
    waits = connection.execute("SELECT extract(epoch FROM next_at - now()) FROM webhook_delivery").fetchone()
    assert waits is not None
    assert 50 < waits[0] <= 60
    since = endpoint(connection, told)["failing_since"]
    assert since is not None
    expire(connection)
    box.fail(box.take()[0])
    assert endpoint(connection, told)["failing_since"] == since
    expire(connection)
    box.deliver(box.take()[0])
    assert endpoint(connection, told)["failing_since"] is None
    assert outbox(connection)[0]["status"] == "delivered"


def test_an_endpoint_that_is_gone_is_disabled(connection: Connection, box: Box):
    told = put_endpoint(connection)
    put_message(connection, told)
    put_message(connection, told)
    first, second = box.take()
    recorded = box.record_delivery(first, Reply(410), GONE)
    assert recorded.disabled_for == "it is gone: it answered with status 410"
    assert endpoint(connection, told)["disabled_for"] == recorded.disabled_for
    assert box.fail(second).held
    expire(connection)
    assert box.take() == []
    assert endpoint(connection, told)["disabled_for"] == recorded.disabled_for


@pytest.mark.parametrize(("seconds", "disabled"), [(LONGEST_FAILING - 60, False), (LONGEST_FAILING + 60, True)])
def test_one_that_fails_for_days_is_disabled(connection: Connection, box: Box, seconds: float, disabled: bool):
    told = put_endpoint(connection, failing_since=ago(seconds))
    put_message(connection, told)
    [taken] = box.take()
    assert taken.failing
    recorded = box.fail(taken)
    row = endpoint(connection, told)
    assert (recorded.disabled_for is not None, row["disabled_at"] is not None) == (disabled, disabled)
    if disabled:
        assert "it has been failing since " in row["disabled_for"]
        assert row["disabled_for"].endswith("status 500")


def test_who_asks_to_be_left_alone_is(connection: Connection, box: Box):
    told, other = put_endpoint(connection), put_endpoint(connection)
    for _ in range(2):
        put_message(connection, told)
    first, second = box.take()
    box.fail(first, delay=0, rest=60)
    box.fail(second, delay=0)
    put_message(connection, other)
    assert [taken.endpoint for taken in box.take()] == [str(other)]
    connection.execute("UPDATE webhook_endpoint SET closed_until = now()")
    box.deliver(box.take()[0])
    assert endpoint(connection, told)["closed_until"] is None


def test_no_endpoint_takes_all_senders(connection: Connection, box: Box):
    busy, quiet = put_endpoint(connection), put_endpoint(connection)
    for _ in range(10):
        put_message(connection, busy, next_at=ago(60))
    put_message(connection, quiet)
    taken = [delivery.endpoint for delivery in box.take(8)]
    assert sorted(taken) == sorted([str(busy)] * 4 + [str(quiet)])
    assert box.take(8, busy={str(busy): 4}) == []
    assert len(box.take(8, busy={str(busy): 3})) == 1
    assert len(box.take(2)) == 2


def test_what_fails_takes_one_sender_each_and_no_more_than_its_share(connection: Connection, box: Box):
    broken = [put_endpoint(connection, failing_since=ago(60)) for _ in range(6)]
    for each in broken:
        for _ in range(3):
            put_message(connection, each, next_at=ago(60))
    well = put_endpoint(connection)
    for _ in range(3):
        put_message(connection, well)
    taken = [delivery.endpoint for delivery in box.take(8, failing_slots=2)]
    assert taken.count(str(well)) == 3
    assert len(taken) == 5
    assert all(taken.count(str(each)) <= 1 for each in broken)
    assert [delivery.endpoint for delivery in box.take(2, failing_slots=0)] == []


def test_both_secrets_sign_while_one_takes_over(connection: Connection, box: Box):
    told = put_endpoint(connection, old_secret="whsec_b2xk", old_secret_until=NEVER_DUE)
    put_message(connection, told)
    assert list(box.take()[0].secrets) == [SECRET, "whsec_b2xk"]
    connection.execute("UPDATE webhook_endpoint SET old_secret_until = now()")
    expire(connection)
    assert list(box.take()[0].secrets) == [SECRET]


def test_pruning_takes_what_ended_long_ago_or_belongs_to_nobody(connection: Connection, box: Box):
    told = put_endpoint(connection)
    ended = {"status": "delivered", "finished_at": ago(0)}
    put_message(connection, told, created_at=ago(100), **ended)
    put_message(connection, uuid4(), created_at=ago(100))
    kept = {
        put_message(connection, told, created_at=ago(100)),
        put_message(connection, told, created_at=ago(10), **ended),
        put_message(connection, uuid4(), created_at=ago(10)),
    }
    put_row(connection, "webhook_batch", batch_id=uuid4(), at=ago(90_000))
    put_row(connection, "webhook_batch", batch_id=uuid4())
    assert box.prune_deliveries(retention=50, limit=1) == 1
    assert box.prune_deliveries(retention=50, limit=10) == 1
    assert {row["id"] for row in outbox(connection)} == kept
    assert connection.execute("SELECT count(*) FROM webhook_batch").fetchone() == (1,)
