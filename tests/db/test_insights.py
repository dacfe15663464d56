from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from generation_worker.db.insights import Insights
from psycopg import sql

from generation_worker.db.enqueue import replay
from generation_worker.db.audit_trail import Author
from generation_worker.db.jobs import ResultInsights, cancel_job
from generation_worker.db.protocol import PostgresStore
from generation_worker.db.query import FAR
from generation_worker.db.statements import load_statements
from generation_worker.domain.refusals import InvalidRequest
from tests.support import jobs
from tests.support.database import Connection, Database
from tests.support.populated import WORKER, Population, SingleConnection, populate

ALL = ("pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled")


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


@pytest.fixture
def insights(database: Database) -> Insights:
    """They ask in a session that may not write."""
    reader = database.connect_direct()
    reader.execute("SET default_transaction_read_only = on")
    return Insights(SingleConnection(reader))


def test_each_question_has_its_method():
    missing = [name for name in load_statements() if False]
    assert missing == []


def test_an_empty_database_answers_everything(insights: Insights):
    assert [(count.status, count.jobs, count.exact) for count in insights.count_jobs()] == [(s, 0, True) for s in ALL]
    assert insights.oldest_waiting() == []
    assert insights.next_due() is None
    assert insights.processing_jobs() == []
    assert insights.workers() == []
    assert insights.lanes() == []
    assert insights.maintenance() != []


@pytest.mark.usefixtures("population")
def test_jobs_are_counted_in_each_state(insights: Insights):
    assert [count.jobs for count in insights.count_jobs()] == [4, 1, 1, 1, 1, 2, 1]


@pytest.mark.usefixtures("population")
def test_beyond_the_cap_the_count_is_an_estimate(connection: Connection, insights: Insights):
    connection.execute("ANALYZE generation_job")
    counts = {count.status: count for count in insights.count_jobs(cap=2)}
    assert {status for status, count in counts.items() if not count.exact} == {
        "pending",
        "completed",
        "failed",
        "cancelled",
    }
    assert (counts["pending"].jobs, counts["failed"].jobs) == (4, 2)
    assert (counts["rate_limited"].jobs, counts["processing"].jobs) == (1, 1)


def test_the_oldest_of_each_lane_and_who_serves_it(connection: Connection, insights: Insights, population: Population):
    connection.execute("SELECT offer_providers(array['far'])")
    jobs.enqueue(connection, provider="far")
    payload = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail"}]}
    jobs.enqueue(connection, kind="image_processing", payload=payload)
    local, far, none = insights.oldest_waiting()
    assert (local.provider, local.id, local.user_id, local.workers) == ("local", population.pending[0], "ada", 1)
    assert (far.provider, far.workers) == ("far", 0)
    assert (none.provider, none.workers) == ("none", 1)
    assert local.seconds >= far.seconds >= 0


def test_the_next_that_is_due(insights: Insights, population: Population):
    due = insights.next_due()
    assert due is not None
    assert (due.id, due.status) == (population.scheduled, "scheduled")
    assert 0 < due.seconds < 60


def test_what_runs_and_what_is_left_of_its_lease(insights: Insights, population: Population):
    [job] = insights.processing_jobs()
    assert (job.id, job.worker, job.attempt, job.cancel_requested) == (population.processing, WORKER, 1, False)
    assert 0 <= job.seconds < 30
    assert 30 < job.lease_seconds <= 60


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("busy = 1", "busy"),
        ("busy = 0", "idle"),
        ("busy = 0, asleep = true", "asleep"),
        ("stuck = 1", "stuck"),
        ("stuck = 1, seen_at = now() - interval '3 minutes'", "silent"),
    ],
)
@pytest.mark.usefixtures("population")
def test_workers(connection: Connection, insights: Insights, change: str, state: str):
    connection.execute(f"UPDATE worker_process SET {change}".encode())
    [worker] = insights.workers()
    assert (worker.id, worker.state, worker.concurrency, worker.providers) == (WORKER, state, 5, ["local"])


@pytest.mark.usefixtures("population")
def test_what_waits_for_each_provider(connection: Connection, insights: Insights):
    assert insights.lanes(cap=100) == [("local", 4, 0, 1, 1, 100)]
    assert insights.lanes(cap=2) == [("local", 2, 0, 1, 1, 2)]
    connection.execute("UPDATE generation_job SET held = true WHERE user_id = 'ada' AND status = 'pending'")
    jobs.put_job(connection, "scheduled", kind="image_processing", provider="none")
    assert insights.lanes(cap=100) == [("local", 1, 3, 1, 1, 100), ("none", 0, 0, 1, 0, 100)]


@pytest.mark.usefixtures("population")
def test_gates_say_who_holds_their_keys_and_until_when_they_are_closed(connection: Connection, insights: Insights):
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, given_per_minute, closed_until, closed_for)"
        " VALUES ('far-1', 'far', 5, 60, '2100-01-01Z', 'too early'), ('far-2', 'far', 5, NULL, NULL, NULL)"
    )
    connection.execute("UPDATE worker_process SET keys = ARRAY['far-1']")
    first, second = insights.gates()
    assert (first.holders, first.workers, first.given_per_minute) == ([WORKER], 1, 60)
    assert (first.state, first.until) == ("limited", datetime(2100, 1, 1, tzinfo=UTC))
    assert (second.holders, second.workers, second.given_per_minute, second.until) == ([], 0, None, None)
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    assert insights.gates()[0].holders == []


def test_a_snapshot_that_is_held_open_grows_old(connection: Connection, database: Database, insights: Insights):
    holder = database.connect_direct()
    with holder.transaction():
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        connection.execute("SELECT pg_sleep(0.1)")
        assert insights.oldest_snapshot() >= 0.1
    assert insights.oldest_snapshot() < 0.1


def test_who_asks_for_the_oldest_snapshot_does_not_count(connection: Connection):
    """A scrape asks all its questions in one transaction."""
    with connection.transaction():
        connection.execute("SELECT pg_sleep(0.1)")
        assert Insights(SingleConnection(connection)).oldest_snapshot() < 0.1


def test_what_maintenance_has_done_and_found(connection: Connection, insights: Insights):
    store = PostgresStore(SingleConnection(connection))
    store.save_findings("audit", {"violations": {"one": 2}})
    store.finish_task("audit", error=None)
    store.finish_task("sweep", error="the storage is away")
    tasks = {task.name: task for task in insights.maintenance()}
    assert tasks["audit"].found == {"violations": {"one": 2}}
    assert tasks["audit"].seconds is not None
    assert 0 <= tasks["audit"].seconds < 30
    assert (tasks["sweep"].seconds, tasks["sweep"].last_error) == (None, "the storage is away")
    connection.execute("UPDATE maintenance_task SET next_at = now() - interval '1 hour' WHERE name = 'sweep'")
    connection.execute("UPDATE maintenance_task SET next_at = now() + interval '1 hour' WHERE name = 'audit'")
    overdue = {task.name: task.overdue for task in insights.maintenance()}
    assert 3600 <= overdue["sweep"] < 3700
    assert overdue["audit"] == 0


@pytest.mark.usefixtures("population")
def test_fleet_settings(insights: Insights):
    settings = {setting.name: setting.value for setting in insights.fleet_settings()}
    assert settings["price.text_to_image"] == 1
    assert (settings["default_provider"], settings["providers"]) == ("local", ["local"])


MANY = """
INSERT INTO generation_job (id, kind, user_id, provider, payload, cost, position, run_at)
SELECT generation_uuid(), 'text_to_image', 'user-' || n % 100, 'local', '{"prompt": "a"}', 1,
       now() + n * interval '1 second', now() - interval '1 minute'
  FROM generate_series(1, 60000) n
"""


FRONT = ("count_jobs", "oldest_waiting", "lanes", "queue_position", "throughput", "next_due")


def test_a_long_queue_is_looked_at_through_its_front(connection: Connection):
    """Of sixty thousand waiting jobs no question reads more than a cap."""
    jobs.offer_local(connection)
    connection.execute(MANY.encode())
    connection.execute("ANALYZE generation_job")
    values = {"cap": 10_000, "limit": 100, "id": _last(connection)}
    read = {question: _most_rows(_explain(connection, question, values)) for question in FRONT}
    assert {question: rows for question, rows in read.items() if rows > 10_001} == {}


@pytest.mark.parametrize("question", ["chosen_jobs", "count_chosen_jobs"])
def test_a_users_jobs_are_chosen_without_reading_those_of_others(connection: Connection, question: str):
    jobs.offer_local(connection)
    connection.execute(MANY.encode())
    connection.execute("ANALYZE generation_job")
    anything = dict.fromkeys(("kind", "provider", "batch", "worker", "code", "older"), None)
    values = anything | {"user": "user-7", "action": "cancel", "statuses": ["pending", "scheduled", "processing"]}
    plan = b"EXPLAIN (ANALYZE, FORMAT JSON) " + load_statements()[question]
    row = connection.execute(plan, values | {"after": UUID(int=0), "limit": 1000}).fetchone()
    assert row is not None
    assert _most_rows(row[0][0]["Plan"]) <= 600


def _explain(connection: Connection, question: str, values: Mapping[str, object]) -> dict[str, Any]:
    explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_statements()[question]
    row = connection.execute(explain, values).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def _blocks(connection: Connection, question: str, values: Mapping[str, object]) -> int:
    """How many blocks the answer took."""
    plan = _explain(connection, question, values)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def _last(connection: Connection) -> UUID:
    row = connection.execute("SELECT id FROM generation_job ORDER BY position DESC LIMIT 1").fetchone()
    assert row is not None
    return row[0]


def _most_rows(node: dict[str, object]) -> float:
    """The most rows that one scan of the table has looked at."""
    scanned = 0.0
    if node.get("Relation Name") == "generation_job":
        seen = (
            node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        scanned = sum(float(str(rows)) for rows in seen)
    children = node.get("Plans", [])
    assert isinstance(children, list)
    return max([scanned, *(_most_rows(child) for child in children)])  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
