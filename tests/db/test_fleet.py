"""The state of the fleet and of its queue, as the queries of ``db/fleet.py`` report it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from generation_worker.db import fleet
from generation_worker.db.query import Queries
from generation_worker.db.server import read_snapshot_age
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.plans import explain, most_rows
from tests.support.populated import WORKER, Population, populate
from tests.support.protocol import Worker

ALL = ("pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled")


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


@pytest.fixture
def queries(database: Database) -> Queries:
    """In a session that may not write."""
    reader = database.connect_direct()
    reader.execute("SET default_transaction_read_only = on")
    return queries_on(reader)


def test_an_empty_database_answers_everything(queries: Queries):
    assert [(count.status, count.jobs, count.exact) for count in fleet.count_jobs_by_status(queries)] == [
        (s, 0, True) for s in ALL
    ]
    assert fleet.list_lane_fronts(queries) == []
    assert fleet.find_next_due(queries) is None
    assert fleet.list_processing_jobs(queries) == []
    assert fleet.list_workers(queries) == []
    assert fleet.list_lanes(queries) == []
    assert fleet.list_maintenance_tasks(queries) != []


@pytest.mark.usefixtures("population")
def test_jobs_are_counted_in_each_state(queries: Queries):
    assert [count.jobs for count in fleet.count_jobs_by_status(queries)] == [4, 1, 1, 1, 1, 2, 1]


@pytest.mark.usefixtures("population")
def test_beyond_the_cap_the_count_is_an_estimate(connection: Connection, queries: Queries):
    connection.execute("ANALYZE generation_job")
    counts = {count.status: count for count in fleet.count_jobs_by_status(queries, cap=2)}
    assert {status for status, count in counts.items() if not count.exact} == {
        "pending",
        "completed",
        "failed",
        "cancelled",
    }
    assert (counts["pending"].jobs, counts["failed"].jobs) == (4, 2)
    assert (counts["rate_limited"].jobs, counts["processing"].jobs) == (1, 1)


def test_the_oldest_of_each_lane_and_who_serves_it(connection: Connection, queries: Queries, population: Population):
    connection.execute("SELECT offer_providers(array['far'])")
    jobs.enqueue(connection, provider="far")
    payload = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail"}]}
    jobs.enqueue(connection, kind="image_processing", payload=payload)
    local, far, none = fleet.list_lane_fronts(queries)
    assert (local.provider, local.id, local.user_id, local.workers) == ("local", population.pending[0], "ada", 1)
    assert (far.provider, far.workers) == ("far", 0)
    assert (none.provider, none.workers) == ("none", 1)
    assert local.seconds >= far.seconds >= 0


def test_the_next_that_is_due(queries: Queries, population: Population):
    due = fleet.find_next_due(queries)
    assert due is not None
    assert (due.id, due.status) == (population.scheduled, "scheduled")
    assert 0 < due.seconds < 60


def test_what_runs_and_what_is_left_of_its_lease(queries: Queries, population: Population):
    [job] = fleet.list_processing_jobs(queries)
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
def test_workers(connection: Connection, queries: Queries, change: str, state: str):
    connection.execute(f"UPDATE worker_process SET {change}".encode())
    [worker] = fleet.list_workers(queries)
    assert (worker.id, worker.state, worker.concurrency, worker.providers) == (WORKER, state, 5, ["local"])


@pytest.mark.usefixtures("population")
def test_what_waits_for_each_provider(connection: Connection, queries: Queries):
    assert fleet.list_lanes(queries, cap=100) == [("local", 4, 0, 1, 1, 100)]
    assert fleet.list_lanes(queries, cap=2) == [("local", 2, 0, 1, 1, 2)]
    connection.execute("UPDATE generation_job SET parked = true WHERE user_id = 'ada' AND status = 'pending'")
    jobs.put_job(connection, "scheduled", kind="image_processing", provider="none")
    assert fleet.list_lanes(queries, cap=100) == [("local", 1, 3, 1, 1, 100), ("none", 0, 0, 1, 0, 100)]


@pytest.mark.usefixtures("population")
def test_gates_say_who_holds_their_keys_and_until_when_they_are_closed(connection: Connection, queries: Queries):
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, given_per_minute, closed_until, closed_for)"
        " VALUES ('far-1', 'far', 5, 60, '2100-01-01Z', 'too early'), ('far-2', 'far', 5, NULL, NULL, NULL)"
    )
    connection.execute("UPDATE worker_process SET keys = ARRAY['far-1']")
    first, second = fleet.list_gates(queries)
    assert (first.holders, first.workers, first.given_per_minute) == ([WORKER], 1, 60)
    assert (first.state, first.until) == ("limited", datetime(2100, 1, 1, tzinfo=UTC))
    assert (second.holders, second.workers, second.given_per_minute, second.until) == ([], 0, None, None)
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    assert fleet.list_gates(queries)[0].holders == []


def test_a_snapshot_that_is_held_open_grows_old(connection: Connection, database: Database, queries: Queries):
    holder = database.connect_direct()
    with holder.transaction():
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT 1")
        connection.execute("SELECT pg_sleep(0.1)")
        assert read_snapshot_age(queries) >= 0.1
    assert read_snapshot_age(queries) < 0.1


def test_who_asks_for_the_oldest_snapshot_does_not_count(connection: Connection):
    """A scrape asks all its questions in one transaction."""
    with connection.transaction():
        connection.execute("SELECT pg_sleep(0.1)")
        assert read_snapshot_age(queries_on(connection)) < 0.1


def test_what_maintenance_has_done_and_found(connection: Connection, queries: Queries):
    store = Worker(connection).store
    store.save_findings("audit", {"violations": {"one": 2}})
    store.finish_task("audit", error=None)
    store.finish_task("sweep", error="the storage is away")
    tasks = {task.name: task for task in fleet.list_maintenance_tasks(queries)}
    assert tasks["audit"].found == {"violations": {"one": 2}}
    assert tasks["audit"].seconds is not None
    assert 0 <= tasks["audit"].seconds < 30
    assert (tasks["sweep"].seconds, tasks["sweep"].last_error) == (None, "the storage is away")
    connection.execute("UPDATE maintenance_task SET next_at = now() - interval '1 hour' WHERE name = 'sweep'")
    connection.execute("UPDATE maintenance_task SET next_at = now() + interval '1 hour' WHERE name = 'audit'")
    overdue = {task.name: task.overdue for task in fleet.list_maintenance_tasks(queries)}
    assert 3600 <= overdue["sweep"] < 3700
    assert overdue["audit"] == 0


@pytest.mark.usefixtures("population")
def test_fleet_settings(queries: Queries):
    settings = {setting.name: setting.value for setting in fleet.list_settings(queries)}
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
    read = {question: most_rows(explain(connection, question, values)) for question in FRONT}
    assert {question: rows for question, rows in read.items() if rows > 10_001} == {}


def _last(connection: Connection) -> UUID:
    row = connection.execute("SELECT id FROM generation_job ORDER BY position DESC LIMIT 1").fetchone()
    assert row is not None
    return row[0]
