"""Every change by a person or a key is in the audit trail, or it did not happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from generation_worker.db.audit_trail import UNKNOWN, AuditEvent, Author, find_scan_end, list_events, record_change
from generation_worker.db.credits import adjust_credits, grant_credits
from generation_worker.db.enqueue import cancel
from generation_worker.db.fleet import set_setting
from generation_worker.db.jobs import cancel_job, replay_job
from generation_worker.domain.refusals import InsufficientCredits, InvalidRequest, JobNotFound, JobNotReplayable
from tests.support import jobs
from tests.support.database import SCHEMA, Connection, Database, queries_on
from tests.support.populated import Population, populate
from tests.support.refusals import APPEND_ONLY, refused

ADA = Author("cli:ada", "because")
Change = Callable[[Connection, Population], Any]


def events(connection: Connection, **filters: Any) -> list[AuditEvent]:
    return list_events(queries_on(connection), **filters)


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


def test_a_setting_with_what_it_was_before(connection: Connection):
    set_setting(queries_on(connection), "price.text_to_image", 3, by=ADA)
    [event] = events(connection)
    assert event[2:] == ("cli:ada", "setting.set", "setting:price.text_to_image", "because", 1, 3)
    row = connection.execute("SELECT now() - at < interval '1 minute' FROM audit_event").fetchone()
    assert row == (True,)


def test_a_setting_that_was_not_there_before(connection: Connection):
    jobs.offer_local(connection)
    set_setting(queries_on(connection), "price.text_to_image.local", 2, by=ADA)
    assert (events(connection)[0].before, events(connection)[0].after) == (None, 2)


def test_whoever_does_not_say_who_they_are_is_the_role_that_is_connected(connection: Connection):
    set_setting(queries_on(connection), "seconds_per_credit", 5)
    role = connection.execute("SELECT session_user").fetchone()
    assert role is not None
    assert events(connection)[0].actor == f"sql:{role[0]}"


def test_credits(connection: Connection):
    grant_credits(connection, "ada", 10, idempotency_key="order-7", reason="bought", actor="key:1", schema=SCHEMA)
    grant_credits(
        connection, "ada", 10, idempotency_key="order-7", reason="bought", actor="key:1", schema=SCHEMA
    )  # moves nothing
    adjust_credits(connection, "ada", -4, reason="too much", actor="cli:bob", schema=SCHEMA)
    grant_credits(connection, "ada", 1, schema=SCHEMA)  # an app, for its own user
    adjusted, granted = events(connection)
    assert granted[2:6] == ("key:1", "credits.grant", "user:ada", "bought")
    assert (granted.before, granted.after) == ({"balance": 0}, {"balance": 10, "entry": 1})
    assert adjusted[2:6] == ("cli:bob", "credits.adjust", "user:ada", "too much")
    assert (adjusted.before, adjusted.after) == ({"balance": 10}, {"balance": 6, "entry": 2})


def test_a_cancelled_job(connection: Connection, population: Population):
    waits, runs = population.pending[0], population.processing
    cancel_job(queries_on(connection), waits, by=ADA)
    cancel_job(queries_on(connection), waits, by=ADA)  # changes nothing any more
    cancel_job(queries_on(connection), runs, by=ADA)
    cancel_job(queries_on(connection), population.completed, by=ADA)  # is final
    running, waiting = events(connection)
    assert waiting[2:6] == ("cli:ada", "job.cancel", f"job:{waits}", "because")
    assert waiting.before == {"status": "pending", "cancel_requested": False}
    assert waiting.after == {"status": "cancelled", "cancel_requested": True}
    assert (running.target, running.after) == (f"job:{runs}", {"status": "processing", "cancel_requested": True})


def test_a_replayed_job(connection: Connection, population: Population):
    new = replay_job(queries_on(connection), population.failed, by=ADA)
    assert replay_job(queries_on(connection), population.failed, by=ADA).duplicate
    [event] = events(connection)
    assert event[2:6] == ("cli:ada", "job.replay", f"job:{population.failed}", "because")
    assert event.after == {"replayed_as": str(new.id)}


def test_an_app_that_acts_for_its_own_users_leaves_no_record(connection: Connection, population: Population):
    cancel(connection, population.pending[0])
    assert events(connection) == []


REFUSED: list[tuple[Change, type[Exception]]] = [
    (lambda c, _: set_setting(queries_on(c), "price.text_to_image", -1, by=ADA), InvalidRequest),
    (lambda c, _: adjust_credits(c, "ada", -1000, actor="cli:ada", schema=SCHEMA), InsufficientCredits),
    (lambda c, _: cancel_job(queries_on(c), uuid4(), by=ADA), JobNotFound),
    (lambda c, p: replay_job(queries_on(c), p.completed, by=ADA), JobNotReplayable),
]


@pytest.mark.parametrize(("change", "refusal"), REFUSED)
def test_what_was_refused_is_not_recorded(
    connection: Connection,
    population: Population,
    change: Change,
    refusal: type[Exception],
):
    with pytest.raises(refusal):
        change(connection, population)
    assert events(connection) == []


LONG = Author("cli:ada", "x" * 2001)


NOT_RECORDED: list[Change] = [
    lambda c, _: set_setting(queries_on(c), "price.text_to_image", 9, by=LONG),
    lambda c, _: grant_credits(c, "ada", 5, actor=LONG.actor, reason=LONG.reason, schema=SCHEMA),
    lambda c, p: cancel_job(queries_on(c), p.pending[0], by=LONG),
    lambda c, p: replay_job(queries_on(c), p.failed, by=LONG),
]


@pytest.mark.parametrize("change", NOT_RECORDED)
def test_a_change_that_cannot_be_recorded_is_not_made(connection: Connection, population: Population, change: Change):
    def state() -> list[Any]:
        tables = ("generation_job", "fleet_setting", "credit_account", "credit_entry")
        return [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2".encode()).fetchall() for name in tables]

    before = state()
    with pytest.raises(InvalidRequest, match="reason: has 2001 characters; 2000 are allowed"):
        change(connection, population)
    assert state() == before


SHARED: list[Change] = [
    lambda c, _: set_setting(queries_on(c), "seconds_per_credit", 5, by=ADA),
    lambda c, _: grant_credits(c, "ada", 5, actor="cli:ada", schema=SCHEMA),
    lambda c, p: cancel_job(queries_on(c), p.pending[0], by=ADA),
    lambda c, p: replay_job(queries_on(c), p.failed, by=ADA),
]


@pytest.mark.parametrize("change", SHARED)
def test_it_shares_the_fate_of_the_callers_transaction(
    connection: Connection,
    database: Database,
    population: Population,
    change: Change,
):
    other = database.connect(autocommit=False)
    change(other, population)
    assert len(events(other)) == 1
    other.rollback()
    assert events(connection) == []


@pytest.mark.parametrize(
    "change", ["UPDATE audit_event SET actor = 'bob'", "DELETE FROM audit_event", "TRUNCATE audit_event"]
)
def test_nobody_changes_it_afterwards(connection: Connection, change: str):
    record_change(queries_on(connection), ADA, "job.cancel", "job:1")
    with refused(APPEND_ONLY, match="audit_event is append-only"):
        connection.execute(change.encode())
    assert len(events(connection)) == 1


def test_looking_for_what_somebody_did_to_something(connection: Connection):
    one, other = UUID(int=1), UUID(int=2)
    record_change(queries_on(connection), Author("cli:ada"), "job.cancel", f"job:{one}")
    record_change(queries_on(connection), Author("cli:bob"), "job.replay", f"job:{one}")
    record_change(queries_on(connection), Author("key:5"), "setting.set", "setting:price.text_to_image")
    record_change(queries_on(connection), UNKNOWN, "job.cancel", f"job:{other}")

    def found(**filters: Any) -> list[int]:
        first = events(connection)[-1].id
        return [event.id - first + 1 for event in events(connection, **filters)]

    assert found() == [4, 3, 2, 1]
    assert found(actor="cli:") == [2, 1]
    assert found(action="job.") == [4, 2, 1]
    assert found(target=f"job:{one}", actor="cli:bob") == [2]
    assert found(limit=2) == [4, 3]
    assert found(before=events(connection)[1].id, limit=1) == [2]
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")  # only here can it be changed
        connection.execute("UPDATE audit_event SET at = now() - interval '1 day' WHERE actor LIKE 'cli:%'")
    row = connection.execute("SELECT now() - interval '1 hour'").fetchone()
    assert row is not None
    assert found(since=row[0]) == [4, 3]


def test_where_a_bounded_scan_ends(connection: Connection):
    queries = queries_on(connection)
    assert find_scan_end(queries) is None
    for n in range(5):
        record_change(queries, Author("cli:ada"), "job.cancel", f"job:{n}")
    found = events(connection)
    assert events(connection, target="job:0", cap=4) == []
    assert [event.target for event in events(connection, target="job:0")] == ["job:0"]
    assert find_scan_end(queries, cap=4) == (found[3].id, found[3].at, True)
    assert find_scan_end(queries, before=found[3].id, cap=4) == (found[4].id, found[4].at, False)
