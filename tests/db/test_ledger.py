"""Each invariant is broken by hand, with the guards switched off, and must be the one that says so."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from generation_worker.db.connections import open_pool
from generation_worker.db.ledger import MOST_PER_INVARIANT, count_violations, explain_invariant, find_violations
from generation_worker.db.query import Queries
from generation_worker.db.statements import load_statements, names_in
from tests.support.database import SCHEMA, Connection, Database, queries_on
from tests.support.jobs import (
    NOT_LEASED,
    NOW,
    change_job,
    enqueue,
    grant,
    offer_local,
    put_job,
    put_row,
    start,
)
from tests.support.waiting import wait_for_lock_waiters

MAX_PAID_CALLS = 2
COMPLETED: dict[str, Any] = NOT_LEASED | {
    "status": "completed",
    "finished_at": NOW,
    "result": {"images": [{"key": "a.webp", "thumbnail_key": None}, {"key": "b.webp"}]},
}
FAILED: dict[str, Any] = NOT_LEASED | {"status": "failed", "error_code": "internal_error", "finished_at": NOW}


@pytest.fixture
def books(connection: Connection) -> dict[str, UUID]:
    """One job in each state that work can be in, each as the protocol leaves it."""
    offer_local(connection)
    grant(connection, "ada", 10)
    grant(connection, "bob", 10)
    jobs = {name: enqueue(connection) for name in ("pending", "processing", "completed", "failed", "retried")}
    for name in ("processing", "completed", "failed", "retried"):
        connection.execute("UPDATE generation_job SET max_attempts = 4 WHERE id = %s", (jobs[name],))
        start(connection, jobs[name])
        put_call(connection, jobs[name])
    put_call(connection, jobs["processing"], number=2, spent=True, finished_at=NOW, milliseconds=1)
    put_call(connection, jobs["processing"], number=3, spent=False, finished_at=NOW, milliseconds=1)
    end(connection, jobs["completed"], "completed", **COMPLETED)
    end(connection, jobs["failed"], "failed", **FAILED)
    end(connection, jobs["retried"], "failed", status="scheduled", **NOT_LEASED)
    put_row(
        connection, "worker_process", id="w", version="1", providers=["local"], concurrency=1,
        started_at=sql.SQL("clock_timestamp() - interval '1 hour'"),
    )  # fmt: skip
    return jobs


def end(connection: Connection, job_id: UUID, outcome: str, **columns: Any) -> None:
    change_job(connection, job_id, **columns)
    put_attempt(connection, job_id, outcome)


def put_attempt(connection: Connection, job_id: UUID, outcome: str, started_at: sql.Composable | None = None) -> None:
    columns = {"attempt": 1, "worker": "w", "started_at": started_at or sql.SQL("now()"), "ended_at": NOW}
    put_row(connection, "job_attempt", job_id=job_id, lease_token=uuid4(), outcome=outcome, **columns)


def put_call(connection: Connection, job_id: UUID, number: int = 1, **columns: Any) -> None:
    call = {"provider": "local", "key_label": "k", "lease_token": uuid4(), **columns}
    put_row(connection, "provider_call", job_id=job_id, number=number, **call)


def found(connection: Connection) -> set[str]:
    return {violation.invariant for violation in find_violations(queries_on(connection), max_paid_calls=MAX_PAID_CALLS)}


def change(table: str, changes: str, where: str) -> Callable[[Connection, dict[str, UUID]], None]:
    """An UPDATE whose condition may name a job of the books."""

    def run(connection: Connection, books: dict[str, UUID]) -> None:
        done = connection.execute(f"UPDATE {table} SET {changes} WHERE {where}".encode(), books)
        assert done.rowcount > 0

    return run


def without(constraint: str, changes: str, where: str) -> Callable[[Connection, dict[str, UUID]], None]:
    """As `change` of a job, past a CHECK."""

    def run(connection: Connection, books: dict[str, UUID]) -> None:
        connection.execute(f"ALTER TABLE generation_job DROP CONSTRAINT {constraint}".encode())
        change("generation_job", changes, where)(connection, books)

    return run


def delete(table: str, where: str) -> Callable[[Connection, dict[str, UUID]], None]:
    def run(connection: Connection, books: dict[str, UUID]) -> None:
        assert connection.execute(f"DELETE FROM {table} WHERE {where}".encode(), books).rowcount > 0

    return run


def call_too_often(connection: Connection, books: dict[str, UUID]) -> None:
    put_call(connection, books["processing"], number=4)


def call_too_quickly(connection: Connection, books: dict[str, UUID]) -> None:
    """Two calls of a key that may be called once a minute, 59 s apart; those before it was limited do not count."""
    put_row(connection, "provider_gate", key_label="far-1", provider="far", calls_per_minute=1, limited_since=ago(120))
    for number, seconds in enumerate((130, 125, 90, 31), start=11):
        put_call(connection, books["processing"], number, key_label="far-1", spent=False, started_at=ago(seconds))


def ago(seconds: float) -> sql.Composable:
    return sql.SQL("now() - {} * interval '1 s'").format(sql.Literal(seconds))


def refund_what_was_delivered(connection: Connection, books: dict[str, UUID]) -> None:
    move(connection, books["completed"], "ada", "refund", 1, refund_of="debit")


def charge_what_never_began(connection: Connection, books: dict[str, UUID]) -> None:
    move(connection, books["pending"], "ada", "debit", -1)


def refund_the_wrong_user(connection: Connection, books: dict[str, UUID]) -> None:
    change("credit_entry", "refund_of = 1", "job_id = %(failed)s AND kind = 'refund'")(connection, books)


def move(connection: Connection, job_id: UUID, user: str, kind: str, amount: int, refund_of: str | None = None) -> None:
    """An entry that is right in itself and in its account."""
    connection.execute(
        """
        WITH account AS (
          UPDATE credit_account SET balance = balance + %(amount)s, entries = entries + 1
           WHERE user_id = %(user)s RETURNING *)
        INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after, job_id, refund_of)
        SELECT user_id, entries, %(kind)s, %(amount)s, balance, %(job)s,
               (SELECT seq FROM credit_entry WHERE job_id = %(job)s AND kind = %(refund_of)s) FROM account
        """,
        {"job": job_id, "user": user, "kind": kind, "amount": amount, "refund_of": refund_of},
    )


def work_too_often(connection: Connection, books: dict[str, UUID]) -> None:
    put_attempt(connection, books["retried"], "failed")
    without("attempt_in_bounds", "max_attempts = 1, attempt = 2", "id = %(retried)s")(connection, books)


def complete_again(connection: Connection, books: dict[str, UUID]) -> None:
    put_attempt(connection, books["completed"], "completed")
    change("generation_job", "attempt = 2", "id = %(completed)s")(connection, books)


def work_on(connection: Connection, books: dict[str, UUID]) -> None:
    put_attempt(connection, books["completed"], "released", started_at=NOW)


def deliver_without_an_attempt(connection: Connection, books: dict[str, UUID]) -> None:
    change("job_attempt", "outcome = 'failed'", "job_id = %(completed)s")(connection, books)


def take_more_than_there_is(connection: Connection, books: dict[str, UUID]) -> None:
    for table in ("credit_account", "credit_entry"):
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT balance_is_not_negative".encode())
    connection.execute(
        """
        WITH account AS (
          UPDATE credit_account SET balance = balance - 11, entries = entries + 1 WHERE user_id = 'bob' RETURNING *)
        INSERT INTO credit_entry (user_id, seq, kind, amount, balance_after)
        SELECT user_id, entries, 'adjustment', -11, balance FROM account
        """
    )


def image_without(image: str) -> Callable[[Connection, dict[str, UUID]], None]:
    return change("generation_job", f"""result = '{{"images": {image}}}'""", "id = %(completed)s")


def forget_to_tell(connection: Connection, books: dict[str, UUID]) -> None:
    """A job of somebody whose endpoint wanted to know how it ends."""
    put_endpoint(connection)
    put_job(connection, "cancelled", user_id="eve")


def tell_something_else(connection: Connection, books: dict[str, UUID]) -> None:
    endpoint = put_endpoint(connection)
    ended = put_job(connection, "cancelled", user_id="eve")
    put_row(connection, "webhook_delivery", endpoint_id=endpoint, event="job.failed", job_id=ended, body="{}")


def put_endpoint(connection: Connection) -> UUID:
    columns = {"url": "https://a.example.com/", "user_id": "eve", "secret": "whsec_aaaa", "enabled_since": ago(3600)}
    return put_row(connection, "webhook_endpoint", events=["job.failed", "job.cancelled"], **columns)["id"]


JOB = "id = %(processing)s"
BREAK: list[tuple[str, Callable[[Connection, dict[str, UUID]], None]]] = [
    ("balance_is_the_sum_of_entries", change("credit_account", "balance = balance + 1", "user_id = 'bob'")),
    ("balance_is_the_sum_of_entries", delete("credit_account", "user_id = 'bob'")),
    ("balances_are_never_negative", take_more_than_there_is),
    ("entries_chain_without_gap", change("credit_entry", "seq = 7", "user_id = 'bob'")),
    ("entries_chain_without_gap", change("credit_entry", "balance_after = 9", "user_id = 'bob'")),
    ("entries_chain_without_gap", change("credit_account", "entries = 2", "user_id = 'bob'")),
    ("started_work_is_debited_once_for_its_cost", change("generation_job", "cost = 2", JOB)),
    ("started_work_is_debited_once_for_its_cost", change("generation_job", "user_id = 'bob'", JOB)),
    ("started_work_is_debited_once_for_its_cost", change("generation_job", "debited = false", "id = %(retried)s")),
    ("started_work_is_debited_once_for_its_cost", change("credit_entry", "job_id = gen_random_uuid()",
                                                         "job_id = %(processing)s")),
    ("started_work_is_debited_once_for_its_cost", charge_what_never_began),
    ("refunded_if_and_only_if_debited_and_ended_without_image", refund_what_was_delivered),
    ("refunded_if_and_only_if_debited_and_ended_without_image",
     change("generation_job", "status = 'cancelled', finished_at = clock_timestamp()", "id = %(retried)s")),
    ("refund_goes_to_the_payer_and_is_the_debit", refund_the_wrong_user),
    ("processing_means_leased", without("processing_is_leased", "lease_token = NULL", JOB)),
    ("processing_means_leased", without("processing_is_leased", "locked_by = 'w'", "id = %(failed)s")),
    ("final_means_finished", without("final_is_finished", "finished_at = NULL", "id = %(completed)s")),
    ("final_means_finished", without("final_is_finished", "finished_at = now()", "id = %(pending)s")),
    ("completed_once_and_never_left", complete_again),
    ("completed_once_and_never_left", work_on),
    ("completed_once_and_never_left", deliver_without_an_attempt),
    ("completed_names_its_images", image_without("[]")),
    ("completed_names_its_images", image_without("5")),
    ("completed_names_its_images", image_without("null")),
    ("completed_names_its_images", image_without('[{"key": "a"}, {"url": "b"}]')),
    ("completed_names_its_images", image_without('[{"key": ""}]')),
    ("completed_names_its_images", image_without('[{"key": null}]')),
    ("completed_names_its_images", image_without('["a"]')),
    ("completed_names_its_images", change("generation_job", "result = '5'", "id = %(completed)s")),
    ("attempts_within_bounds", work_too_often),
    ("attempts_within_bounds", change("generation_job", "max_attempts = NULL", JOB)),
    ("attempts_are_in_the_history", change("generation_job", "attempt = 2", JOB)),
    ("attempts_are_in_the_history", change("generation_job", "attempt = 0", "id = %(retried)s")),
    ("attempts_are_in_the_history", delete("job_attempt", "job_id = %(retried)s")),
    ("paid_calls_within_bounds", call_too_often),
    ("no_minute_above_the_limit", call_too_quickly),
    ("ended_jobs_are_told_once", forget_to_tell),
    ("ended_jobs_are_told_once", tell_something_else),
    ("calls_and_attempts_belong_to_a_job", change("provider_call", "job_id = gen_random_uuid()",
                                                  "job_id = %(failed)s")),
    ("no_lease_expired_two_minutes_ago_while_a_worker_lives",
     change("generation_job", "lease_expires_at = now() - interval '121 seconds'", JOB)),
]  # fmt: skip


CHECKS = """
SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE contype = 'c' AND connamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'generation_job'::regclass)
"""


@pytest.fixture
def _checks_come_back(database: Database, connection: Connection) -> Iterator[None]:
    checks = connection.execute(CHECKS.encode()).fetchall()
    yield
    database.reset()
    for table, name, definition in set(checks) - set(connection.execute(CHECKS.encode()).fetchall()):
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}".encode())


def test_nothing_is_wrong_with_what_the_protocol_does(connection: Connection, books: dict[str, UUID]):
    assert found(connection) == set()


@pytest.mark.usefixtures("_checks_come_back")
@pytest.mark.parametrize(("invariant", "break_it"), BREAK, ids=[f"{n}-{name}" for n, (name, _) in enumerate(BREAK)])
def test_what_does_not_hold_is_reported_by_its_own_name(
    connection: Connection, books: dict[str, UUID], invariant: str, break_it: Callable[[Connection, Any], None]
):
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        break_it(connection, books)
    assert found(connection) == {invariant}


def test_every_invariant_is_broken_here():
    assert {name for name, _ in BREAK} == set(names_in("ledger"))


def test_a_violation_names_the_offender_and_the_numbers(connection: Connection, books: dict[str, UUID]):
    change("credit_account", "balance = 11", "user_id = 'bob'")(connection, books)
    (violation,) = find_violations(queries_on(connection), max_paid_calls=MAX_PAID_CALLS)
    assert violation.row == {"user_id": "bob", "balance": 11, "sum_of_entries": 10}


@pytest.mark.parametrize("invariant", sorted(names_in("ledger")))
def test_every_invariant_says_what_a_row_means(invariant: str):
    assert explain_invariant(invariant).startswith("A row is ")
    assert not load_statements()[invariant].rstrip().endswith(b";")


@pytest.mark.usefixtures("books")
def test_what_is_broken_everywhere_is_reported_a_hundred_times(connection: Connection):
    change("credit_account", "balance = 1", "true")(connection, {})
    connection.execute(
        "INSERT INTO credit_account (user_id, balance) SELECT 'u' || n, 1 FROM generate_series(1, 200) n"
    )
    assert len(find_violations(queries_on(connection), max_paid_calls=MAX_PAID_CALLS)) == 100


def test_pruned_jobs_leave_books_that_hold(connection: Connection, books: dict[str, UUID]):
    prune = load_statements(SCHEMA)["prune_jobs"]
    assert connection.execute(prune, {"retention": 0, "limit": 100}).rowcount == 2
    assert found(connection) == set()


def test_an_expired_lease_is_nobodys_fault_while_no_worker_lives(connection: Connection, books: dict[str, UUID]):
    change("generation_job", "lease_expires_at = now() - interval '1 hour'", JOB)(connection, books)
    assert found(connection) == {"no_lease_expired_two_minutes_ago_while_a_worker_lives"}
    change("worker_process", "seen_at = now() - interval '61 seconds'", "true")(connection, books)
    assert found(connection) == set()
    change("worker_process", "seen_at = now(), started_at = now() - interval '119 seconds'", "true")(connection, books)
    assert found(connection) == set()


def test_everything_is_seen_at_one_moment(connection: Connection, database: Database, books: dict[str, UUID]):
    """Something breaks after the audit has begun and before it looks there: it stands in the next audit."""
    other = database.connect()
    lock = database.connect(autocommit=False)
    lock.execute("LOCK TABLE provider_call")
    with ThreadPoolExecutor(1) as threads:
        audited = threads.submit(found, connection)
        wait_for_lock_waiters(other, 1)
        with other.transaction():
            other.execute("SET LOCAL session_replication_role = replica")
            change("credit_account", "entries = 99", "true")(other, books)
        lock.rollback()
        assert audited.result() == set()
    assert found(other) == {"entries_chain_without_gap"}


def test_an_audit_changes_nothing_and_waits_for_nobody(
    connection: Connection, database: Database, books: dict[str, UUID]
):
    writer = database.connect(autocommit=False)
    writer.execute("SELECT FROM generation_job FOR UPDATE")
    writer.execute("SELECT FROM credit_account FOR UPDATE")
    assert found(connection) == set()
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)


# for the metrics, which look at counts


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool[Any]]:
    with open_pool(database.conninfo, prepare=not database.pooled, size=1) as opened:
        yield opened


@pytest.mark.usefixtures("books")
def test_violations_are_counted_invariant_by_invariant(connection: Connection, pool: ConnectionPool[Any]) -> None:
    counts = count_violations(Queries(pool, schema=SCHEMA), max_paid_calls=MAX_PAID_CALLS, seconds=30)
    assert counts == dict.fromkeys(names_in("ledger"), 0)
    for n in range(MOST_PER_INVARIANT + 7):
        put_row(connection, "credit_account", user_id=f"user-{n}", balance=5, entries=0)
    counts = count_violations(Queries(pool, schema=SCHEMA), max_paid_calls=MAX_PAID_CALLS, seconds=30)
    assert {name: rows for name, rows in counts.items() if rows} == {
        "balance_is_the_sum_of_entries": MOST_PER_INVARIANT
    }


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(("first", "seconds"), [("SELECT", 0.5), ("SET lock_timeout = 500", 30)])
def test_an_invariant_that_takes_too_long_is_left_out_and_the_others_are_not(
    database: Database, first: str, seconds: float
) -> None:
    """Whichever limit it is that ends it: the one on statements, or that of the worker's sessions on locks."""
    asker, blocker = database.connect_direct(), database.connect()
    asker.execute(first.encode())
    with blocker.transaction():
        blocker.execute("LOCK TABLE credit_account IN ACCESS EXCLUSIVE MODE")
        counts = count_violations(queries_on(asker), max_paid_calls=MAX_PAID_CALLS, seconds=seconds)
    assert counts["balance_is_the_sum_of_entries"] is None
    assert counts["processing_means_leased"] == 0
