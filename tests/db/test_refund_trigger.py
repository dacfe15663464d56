"""The refund belongs to the transition: whoever makes it happen, a person in psql too, gives the credits back."""

from typing import Any

import psycopg
import pytest

from tests.support.database import Connection
from tests.support.jobs import (
    NOT_LEASED,
    NOW,
    balance,
    change_job,
    configure,
    debit,
    enqueue,
    entries,
    grant,
    job,
    offer_local,
    start,
)
from tests.support.refusals import FINAL, refused

FAILED: dict[str, Any] = NOT_LEASED | {"status": "failed", "error_code": "internal_error", "finished_at": NOW}
CANCELLED: dict[str, Any] = NOT_LEASED | {"status": "cancelled", "finished_at": NOW}
COMPLETED: dict[str, Any] = NOT_LEASED | {"status": "completed", "finished_at": NOW, "result": {"images": []}}
PAID = [("grant", 10, 10), ("debit", -3, 7)]


@pytest.fixture
def fleet(connection: Connection) -> Connection:
    """A fleet where an image costs 3 credits; ada has 10."""
    offer_local(connection)
    configure(connection, price__text_to_image=3)
    grant(connection, "ada", 10)
    return connection


@pytest.mark.parametrize("end", [FAILED, CANCELLED], ids=["failed", "cancelled"])
@pytest.mark.parametrize("begin", [start, debit], ids=["processing", "waiting"])
def test_a_paid_job_that_ends_without_an_image_is_refunded(fleet: Connection, begin: Any, end: dict[str, Any]):
    job_id = enqueue(fleet)
    begin(fleet, job_id)
    assert entries(fleet) == PAID
    change_job(fleet, job_id, **end)
    assert entries(fleet) == [*PAID, ("refund", 3, 10)]
    assert balance(fleet) == 10


def test_the_refund_points_at_the_debit_and_says_why(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    change_job(fleet, job_id, **FAILED)
    refund = "SELECT seq, refund_of, job_id, reason FROM credit_entry WHERE kind = 'refund'"
    assert fleet.execute(refund).fetchone() == (3, 2, job_id, "failed")


def test_a_completed_job_stays_debited(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    change_job(fleet, job_id, **COMPLETED)
    assert entries(fleet) == PAID


@pytest.mark.parametrize("end", [FAILED, CANCELLED], ids=["failed", "cancelled"])
def test_a_job_that_was_never_debited_is_not_refunded(fleet: Connection, end: dict[str, Any]):
    change_job(fleet, enqueue(fleet), **end)
    assert entries(fleet) == [("grant", 10, 10)]


@pytest.mark.parametrize(
    "step",
    [NOT_LEASED | {"status": "scheduled"}, NOT_LEASED | {"status": "rate_limited", "attempt": 0}, {"crashes": 1}],
    ids=["scheduled", "rate_limited", "processing"],
)
def test_a_job_that_goes_on_is_not_refunded(fleet: Connection, step: dict[str, Any]):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    change_job(fleet, job_id, **step)
    assert entries(fleet) == PAID


def test_a_refund_is_the_debit_of_this_job(fleet: Connection):
    first, second = enqueue(fleet), enqueue(fleet)
    configure(fleet, price__text_to_image=2)
    third = enqueue(fleet)
    for job_id in (first, second, third):
        start(fleet, job_id)
    change_job(fleet, third, **FAILED)
    assert entries(fleet)[-1] == ("refund", 2, 4)


def test_a_refund_is_the_debit_and_not_todays_price(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    configure(fleet, price__text_to_image=8)
    change_job(fleet, job_id, **FAILED)
    assert entries(fleet)[-1] == ("refund", 3, 10)


def test_a_job_is_refunded_once(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    change_job(fleet, job_id, **FAILED)
    with refused(FINAL):
        change_job(fleet, job_id, **CANCELLED)
    assert entries(fleet) == [*PAID, ("refund", 3, 10)]


def test_without_the_state_chart_a_second_refund_is_still_refused_and_moves_nothing(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    change_job(fleet, job_id, **FAILED)
    with fleet.transaction(force_rollback=True):
        fleet.execute("ALTER TABLE generation_job DISABLE TRIGGER state_chart")
        with pytest.raises(psycopg.errors.UniqueViolation, match="credit_entry_once_a_job"):
            change_job(fleet, job_id, **CANCELLED)
    assert balance(fleet) == 10


def test_what_undoes_the_end_of_a_job_undoes_its_refund(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    with fleet.transaction(force_rollback=True):
        change_job(fleet, job_id, **FAILED)
        assert balance(fleet) == 10
    assert job(fleet, job_id)["status"] == "processing"
    assert entries(fleet) == PAID


def test_a_job_whose_debit_is_gone_cannot_end_quietly(fleet: Connection):
    job_id = enqueue(fleet)
    start(fleet, job_id)
    with fleet.transaction():
        fleet.execute("SET LOCAL session_replication_role = replica")
        fleet.execute("DELETE FROM credit_entry WHERE kind = 'debit'")
    with pytest.raises(psycopg.errors.NoDataFound):
        change_job(fleet, job_id, **FAILED)
    assert job(fleet, job_id)["status"] == "processing"
