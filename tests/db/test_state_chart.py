"""The state chart, as a table of its own to compare the database's with: every pair of statuses is tried."""

from itertools import product
from typing import Any

import pytest
from psycopg import sql

from tests.support.database import Connection
from tests.support.jobs import IN_STATUS, LEASED, NOT_LEASED, PROMPT, change_job, job, put_job, put_row
from tests.support.refusals import APPEND_ONLY, FINAL, NOT_IN_THE_STATE_CHART, refused

# From, to: by how much the attempt must change.
CHART = {
    ("pending", "pending"): 0,
    ("pending", "processing"): 1,
    ("pending", "failed"): 0,
    ("pending", "cancelled"): 0,
    ("scheduled", "scheduled"): 0,
    ("scheduled", "pending"): 0,
    ("scheduled", "failed"): 0,
    ("scheduled", "cancelled"): 0,
    ("rate_limited", "rate_limited"): 0,
    ("rate_limited", "pending"): 0,
    ("rate_limited", "failed"): 0,
    ("rate_limited", "cancelled"): 0,
    ("processing", "processing"): 0,
    ("processing", "pending"): -1,
    ("processing", "scheduled"): 0,
    ("processing", "rate_limited"): -1,
    ("processing", "completed"): 0,
    ("processing", "failed"): 0,
    ("processing", "cancelled"): 0,
}
FINALS = ("completed", "failed", "cancelled")
ATTEMPT = 2

REQUEST: dict[str, Any] = {
    "id": sql.SQL("gen_random_uuid()"),
    "kind": "image_conversion",
    "user_id": "bob",
    "payload": {"prompt": "another"},
    "cost": 7,
    "idempotency_key": "another",
    "request_hash": b"another",
    "batch_id": sql.SQL("gen_random_uuid()"),
    "batch_index": 7,
    "retry_of": sql.SQL("gen_random_uuid()"),
    "created_at": sql.SQL("clock_timestamp()"),
}


def put(connection: Connection, status: str, **columns: Any) -> Any:
    return put_job(connection, status, attempt=ATTEMPT, max_attempts=4, **columns)


def as_asked(status: str) -> dict[str, Any]:
    """The columns that an update to `status` has to set."""
    return {"status": status, **(LEASED if status == "processing" else NOT_LEASED), **IN_STATUS[status]}


@pytest.mark.parametrize(("before", "after"), list(product(IN_STATUS, IN_STATUS)))
def test_a_job_moves_along_the_chart_only(connection: Connection, before: str, after: str):
    for step in (-1, 0, 1):
        job_id = put(connection, before)
        if CHART.get((before, after)) == step:
            change_job(connection, job_id, attempt=ATTEMPT + step, **as_asked(after))
            assert job(connection, job_id)["status"] == after
        else:
            was = job(connection, job_id)
            with refused(FINAL if before in FINALS else NOT_IN_THE_STATE_CHART):
                change_job(connection, job_id, attempt=ATTEMPT + step, **as_asked(after))
            assert job(connection, job_id) == was


@pytest.mark.parametrize(("before", "after"), sorted(CHART))
def test_a_job_becomes_debited_by_a_claim_only(connection: Connection, before: str, after: str):
    attempt = ATTEMPT + CHART[before, after]
    if before != "processing":  # which is debited
        undebited = put(connection, before, cost=1)
        if after == "processing":
            change_job(connection, undebited, attempt=attempt, debited=True, **as_asked(after))
        else:
            with refused(NOT_IN_THE_STATE_CHART):
                change_job(connection, undebited, attempt=attempt, debited=True, **as_asked(after))
    debited = put(connection, before, cost=1, debited=True)
    with refused(NOT_IN_THE_STATE_CHART):
        change_job(connection, debited, attempt=attempt, debited=False, **as_asked(after))


@pytest.mark.parametrize("status", FINALS)
@pytest.mark.parametrize("change", [{"error_message": "oops"}, {"run_at": sql.SQL("run_at")}, {"priority": -1}])
def test_a_final_job_never_changes(connection: Connection, status: str, change: dict[str, Any]):
    job_id = put(connection, status)
    with refused(FINAL, match=f"{job_id}: it is {status} and final"):
        change_job(connection, job_id, **change)


@pytest.mark.parametrize("status", IN_STATUS)
def test_only_a_final_job_may_be_deleted(connection: Connection, status: str):
    job_id = put(connection, status)
    if status in FINALS:
        connection.execute("DELETE FROM generation_job")
        assert connection.execute("SELECT count(*) FROM generation_job").fetchone() == (0,)
    else:
        with refused(NOT_IN_THE_STATE_CHART, match=f"{job_id}: it is {status}; only final jobs may be deleted"):
            connection.execute("DELETE FROM generation_job")


def test_jobs_are_not_emptied_at_once(connection: Connection):
    put(connection, "pending")
    with refused(NOT_IN_THE_STATE_CHART, match="would lose the credits"):
        connection.execute("TRUNCATE generation_job")


@pytest.mark.parametrize("status", ["pending", "processing"])
@pytest.mark.parametrize("column", REQUEST)
def test_what_a_job_asks_for_never_changes(connection: Connection, status: str, column: str):
    job_id = put(connection, status)
    with refused(APPEND_ONLY, match="what a job asks for"):
        change_job(connection, job_id, **{column: REQUEST[column]})


@pytest.mark.parametrize("status", IN_STATUS)
def test_a_job_begins_pending_or_scheduled(connection: Connection, status: str):
    row = new_job() | as_asked(status)
    if status in ("pending", "scheduled"):
        put_row(connection, "generation_job", **row)
    else:
        with refused(NOT_IN_THE_STATE_CHART, match=f"not {status}"):
            put_row(connection, "generation_job", **row)


@pytest.mark.parametrize("column", [{"debited": True, "cost": 1}, {"attempt": 1}, {"crashes": 1}])
def test_a_job_begins_without_a_past(connection: Connection, column: dict[str, Any]):
    with refused(NOT_IN_THE_STATE_CHART):
        put_row(connection, "generation_job", **{**new_job(), **column})


def new_job() -> dict[str, Any]:
    return {"kind": "text_to_image", "user_id": "ada", "provider": "local", "payload": PROMPT, "cost": 0}
