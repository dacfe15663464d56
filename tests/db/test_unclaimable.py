"""No row that a person can put there keeps the jobs of others from being claimed."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from generation_worker.domain.job import LANE_START, ClaimCursor
from generation_worker.events import Events
from generation_worker.worker.poller import Claimer
from generation_worker.worker.settings import WorkerSettings
from tests.support.database import Connection
from tests.support.jobs import PROMPT, configure, enqueue, grant, job, put_row
from tests.support.protocol import CRASHED, RETRY_NOW, Worker, everything

MARKS: dict[str, ClaimCursor] = dict.fromkeys(("local", "none"), LANE_START)
FIRST = {"priority": -2147483648}
"""Before everybody else."""
END_OF_TIME = sql.SQL("'294276-12-31 23:59:59.999999+00'::timestamptz")
BEGINNING = sql.SQL("'4713-01-01 00:00:00+00 BC'::timestamptz")
FOREVER, NEVER = sql.SQL("'infinity'::timestamptz"), sql.SQL("'-infinity'::timestamptz")
MOMENTS = {"end": END_OF_TIME, "beginning": BEGINNING, "forever": FOREVER, "never": NEVER}


def put(connection: Connection, **columns: Any) -> UUID:
    """A job as a person puts it there in psql, past the functions but not past triggers and checks."""
    row = {"kind": "text_to_image", "user_id": "eve", "provider": "local", "payload": PROMPT, "cost": 0}
    values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in (row | columns).items()}
    shown = [value if isinstance(value, sql.SQL) else sql.Placeholder(name) for name, value in values.items()]
    query = sql.SQL("INSERT INTO generation_job ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(shown)
    )
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def others(connection: Connection, worker: Worker) -> set[str]:
    """Jobs that anybody has enqueued."""
    grant(connection)
    return {str(enqueue(connection)) for _ in range(3)}


def claimed(worker: Worker) -> set[str]:
    return {found.id for found in worker.claim().jobs}


EXTREMES: dict[str, dict[str, Any]] = {
    **{f"{column} {name}": {column: moment} for column in ("position", "run_at", "deadline_at", "created_at")
       for name, moment in MOMENTS.items()},
    **{f"started_at {name}": {"started_at": moment} for name, moment in MOMENTS.items()},
    "cancel_requested_at": {"cancel_requested_at": FOREVER},
    "payload null": {"payload": sql.SQL("'null'::jsonb")},
    "payload text": {"payload": sql.SQL("'\"text\"'::jsonb")},
    "payload array": {"payload": sql.SQL("'[1, {}]'::jsonb")},
    "payload deep": {"payload": sql.SQL("(repeat('[', 5000) || repeat(']', 5000))::jsonb")},
    "payload surrogates": {"payload": {"prompt": "\U0001f3a8 \ufffd \u2028"}},
    "kind without its provider's meaning": {"provider": "local", "kind": "image_conversion"},
    "user of spaces": {"user_id": " " * 255},
    "user of quotes": {"user_id": "'\"\\$1%(x)s{}"},
    "waits": {"waits": 2147483647},
    "one attempt": {"max_attempts": 1},
    "many attempts": {"max_attempts": 100},
    "priority": {"priority": 2147483647},
    "batch": {"batch_index": 2147483647, "batch_id": uuid4()},
    "answered": {"has_answer": True},
    "error": {"error_code": "x" * 100_000, "error_message": "x" * 2000},
    "an id of zeros": {"id": UUID(int=0)},
    "an id of ones": {"id": UUID(int=2**128 - 1)},
}  # fmt: skip


@pytest.mark.parametrize("columns", EXTREMES.values(), ids=list(EXTREMES))
def test_extremes_are_claimed_like_anything_else(
    worker: Worker, connection: Connection, others: set[str], columns: dict[str, Any]
) -> None:
    extreme = put(connection, **(FIRST | columns))
    assert claimed(worker) == others | {str(extreme)}
    worker.store.promote_jobs(limit=100)
    assert worker.store.reclaim_jobs(limit=100, lease=60) == []


@pytest.mark.parametrize("cost", [1, 1_000_000_000])
def test_who_cannot_pay_whatever_it_costs_keeps_nobody(
    worker: Worker, connection: Connection, others: set[str], cost: int
) -> None:
    extreme = put(connection, cost=cost, **FIRST)
    assert claimed(worker) == others
    assert job(connection, extreme)["error_code"] == "insufficient_credits"


@pytest.mark.parametrize("weight", ["'Infinity'", "'NaN'", "1e-37", "3e38"])
def test_an_account_of_any_weight_keeps_nobody(
    worker: Worker, connection: Connection, others: set[str], weight: str
) -> None:
    grant(connection, "eve")
    connection.execute(f"UPDATE credit_account SET fair_weight = {weight} WHERE user_id = 'eve'".encode())
    mine = {str(enqueue(connection, "eve")) for _ in range(2)}
    assert claimed(worker) == others | mine


def test_what_is_claimed_with_an_extreme_is_settled(worker: Worker, connection: Connection) -> None:
    put(connection, waits=2147483647, deadline_at=END_OF_TIME, **FIRST)
    found = worker.claim_one()
    assert worker.renew(found)[found.id].renewed
    assert worker.settle(found, RETRY_NOW) == "scheduled"
    worker.promote_now()
    assert worker.settle(worker.claim_one(), CRASHED) == "scheduled"


# what would be one


LARGE = sql.SQL("jsonb_build_object('prompt', repeat('x', 300000))")
SWELLING = sql.SQL(
    "jsonb_build_object('prompt', (SELECT jsonb_agg(('1e' || 100000 + n)::numeric) FROM generate_series(1, 9) n))"
)
"""A hundred bytes in a row, a megabyte as a text: ten thousand of them were more than a text can be."""


@pytest.mark.parametrize("payload", [LARGE, SWELLING], ids=["large", "swelling"])
def test_a_payload_that_no_enqueue_would_take_is_refused(connection: Connection, payload: sql.SQL) -> None:
    with pytest.raises(psycopg.DatabaseError, match="payload: larger than 256 kB") as refused:
        put(connection, payload=payload)
    assert refused.value.sqlstate == "GW006"


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=list(MOMENTS))
def test_a_place_at_the_end_of_time_keeps_nobodys_due_jobs_from_being_promoted(
    worker: Worker, connection: Connection, moment: sql.SQL
) -> None:
    put(connection, position=moment)
    due = [put(connection, status="scheduled", user_id=user) for user in ("eve", "ada")]
    assert worker.store.promote_jobs(limit=10).promoted == 2
    left = connection.execute("SELECT count(*) FROM generation_job WHERE id = ANY (%s) AND status <> 'pending'", (due,))
    assert left.fetchone() == (0,)
    enqueue(connection, "eve", cost=0)


# what is one all the same


def broken_books(connection: Connection, broken: str) -> UUID:
    """A job of eve's that no claim can charge for, because somebody has written into her books."""
    configure(connection, caller_may_set_cost=True)
    grant(connection, "eve")
    job_id = put(connection, cost=1, **FIRST)
    if broken == "account":
        connection.execute("UPDATE credit_account SET entries = 0 WHERE user_id = 'eve'")
    else:
        entry = {"user_id": "eve", "seq": 7, "kind": "debit", "amount": -1, "balance_after": 99, "job_id": job_id}
        put_row(connection, "credit_entry", **entry)
    return job_id


def claimer(worker: Worker, told: list[tuple[str, dict[str, Any]]]) -> Claimer:
    events = Events()
    events.subscribe(lambda name, fields: told.append((name, fields)))
    settings = WorkerSettings(worker.name, "0", concurrency=10, providers=("local",))
    return Claimer(worker.store, settings, events)


@pytest.mark.parametrize("broken", ["account", "entry"])
def test_a_job_that_cannot_be_claimed_is_found_and_left_out(
    worker: Worker, connection: Connection, others: set[str], broken: str
) -> None:
    culprit, told = broken_books(connection, broken), list[tuple[str, dict[str, Any]]]()
    with pytest.raises(psycopg.errors.UniqueViolation):
        worker.claim()
    mine = claimer(worker, told)
    assert {found.id for found in mine.claim(MARKS, 10).jobs} == others
    assert [(name, fields["job"]) for name, fields in told] == [("job.unclaimable", str(culprit))]
    assert "UniqueViolation" in told[0][1]["error"]
    assert "eve" not in told[0][1]["error"]
    assert job(connection, culprit)["status"] == "pending"
    assert mine.claim(MARKS, 10).jobs == []
    assert len(told) == 1


def test_a_rehearsal_leaves_nothing_behind(worker: Worker, connection: Connection, others: set[str]) -> None:
    before = everything(connection)
    one = min(others)
    rehearsed = worker.store.claim_jobs("worker-1", MARKS, slots=10, lease=60, max_attempts=4, rehearse=one)
    assert [found.id for found in rehearsed.jobs] == [one]
    assert everything(connection) == before


def test_the_suspects_are_those_that_a_claim_would_look_at(worker: Worker, connection: Connection) -> None:
    first, second, third = (str(put(connection, priority=number)) for number in (-2, -1, 0))
    answered = str(put(connection, priority=9, has_answer=True))
    put(connection, provider="elsewhere")
    put(connection, status="scheduled")

    def found(left_out: list[str]) -> set[str]:
        return {suspect.id for suspect in worker.store.find_suspects(MARKS, limit=2, left_out=left_out)}

    assert found([]) == {first, second, answered}
    assert found([second, answered]) == {first, third}
