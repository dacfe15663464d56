from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.database import Connection, Database, listen
from tests.support.jobs import balance, debit, enqueue, entries, grant, job, offer_local, put_job, start
from tests.support.races import many_at_once
from tests.support.waiting import heard, wait_for_lock_waiters


@pytest.fixture
def fleet(connection: Connection) -> Connection:
    offer_local(connection)
    grant(connection, "ada", 10)
    return connection


def cancel(connection: Connection, job_id: UUID) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM cancel_generation(%s)", (job_id,)).fetchall()


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited"])
def test_a_job_that_waits_is_cancelled_at_once(fleet: Connection, status: str):
    job_id = put_job(fleet, status)
    assert cancel(fleet, job_id) == [("cancelled", True)]
    row = job(fleet, job_id)
    assert row["cancel_requested_at"] <= row["finished_at"]


def test_a_job_that_waits_without_a_debit_gets_no_refund(fleet: Connection):
    cancel(fleet, enqueue(fleet))
    assert entries(fleet) == [("grant", 10, 10)]


def test_a_job_that_waits_for_another_attempt_gets_its_refund(fleet: Connection):
    job_id = enqueue(fleet)
    debit(fleet, job_id)
    cancel(fleet, job_id)
    assert entries(fleet) == [("grant", 10, 10), ("debit", -1, 9), ("refund", 1, 10)]
    assert balance(fleet) == 10


def test_a_job_that_runs_is_asked_to_stop_and_its_worker_is_told(fleet: Connection, database: Database):
    listener = database.connect_direct()
    listen(listener)
    job_id = enqueue(fleet)
    start(fleet, job_id)
    assert cancel(fleet, job_id) == [("processing", True)]
    asked = job(fleet, job_id)
    assert asked["status"] == "processing"
    assert heard(listener) == ["cancel"]
    assert cancel(fleet, job_id) == [("processing", True)]
    assert job(fleet, job_id) == asked
    assert heard(listener) == []
    assert balance(fleet) == 9


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_final_job_stays_as_it_is(fleet: Connection, status: str):
    job_id = put_job(fleet, status)
    before = job(fleet, job_id)
    assert cancel(fleet, job_id) == [(status, False)]
    assert job(fleet, job_id) == before


def test_a_job_that_does_not_exist_is_no_row(fleet: Connection):
    assert cancel(fleet, uuid4()) == []


def test_twelve_who_cancel_at_once_refund_once(fleet: Connection, database: Database):
    job_id = enqueue(fleet)
    debit(fleet, job_id)
    assert many_at_once(database, 12, lambda caller: cancel(caller, job_id)) == [[("cancelled", True)]] * 12
    assert entries(fleet)[1:] == [("debit", -1, 9), ("refund", 1, 10)]


def test_a_cancel_that_waits_for_a_claim_sees_what_the_claim_did(fleet: Connection, database: Database):
    job_id = enqueue(fleet)
    claimer = database.connect()
    with ThreadPoolExecutor(1) as threads:
        with claimer.transaction():
            start(claimer, job_id)
            cancelled = threads.submit(cancel, database.connect(), job_id)
            wait_for_lock_waiters(fleet, 1)
        assert cancelled.result() == [("processing", True)]
    assert job(fleet, job_id)["status"] == "processing"
