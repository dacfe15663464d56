from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from generation_worker.db.insights import Insights
from psycopg import sql

from generation_worker.db.audit_trail import Author
from generation_worker.db.enqueue import replay
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
    assert [(span.span, span.completed, span.exact) for span in insights.throughput()] == [
        ("hour", 0, True),
        ("day", 0, True),
    ]
    assert insights.failures_by_code() == []
    assert insights.duplicate_calls() == (0, 0, 0, None)
    assert (insights.lanes(), insights.calls()) == ([], [])
    assert insights.maintenance() != []
    assert insights.job_details(uuid4()) is None
    assert insights.dead_letters() == ([], None)


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
def test_throughput(insights: Insights):
    hour, day = insights.throughput()
    assert (hour.completed, hour.failed, hour.cancelled, hour.exact) == (1, 2, 1, True)
    assert day[1:4] == hour[1:4]
    assert (hour.credits_charged, hour.refunds, hour.credits_refunded) == (1, 2, 2)
    assert hour.mean_seconds is not None
    assert (hour.per_minute, day.per_minute) == (0.02, 0.0)


@pytest.mark.usefixtures("population")
def test_throughput_of_many_is_scaled_up_from_the_latest(insights: Insights):
    hour, _ = insights.throughput(cap=2)
    assert not hour.exact
    assert hour.completed + hour.failed + hour.cancelled > 1000


def put_ended(connection: Connection, status: str, ended: str, *, took: float = 2) -> None:
    """``ended`` is SQL for when it was."""
    at = sql.SQL(ended)  # pyright: ignore[reportArgumentType]
    started = sql.SQL("{} - make_interval(secs => {})").format(at, took)
    jobs.put_job(connection, status, started_at=started, finished_at=at)


def test_what_ended_in_each_of_the_latest_spans(connection: Connection, insights: Insights):
    hour = "date_bin('1 hour', now(), 'epoch')"
    for status, ended, took in (
        ("completed", "now()", 2),
        ("completed", f"{hour} - interval '1 second'", 4),
        ("failed", f"{hour} - interval '2 seconds'", 9),
        ("cancelled", f"{hour} - interval '30 minutes'", 9),
        ("completed", f"{hour} - interval '1 hour'", 8),
        ("completed", f"{hour} - interval '4 hours'", 1),
    ):
        put_ended(connection, status, ended, took=took)
    first, before, now = insights.history(seconds=3600, spans=3)
    assert now.since - before.since == before.since - first.since == timedelta(hours=1)
    assert first[1:] == (0, 0, 0, None, True)
    assert (before.completed, before.failed, before.cancelled, before.exact) == (2, 1, 1, True)
    assert before.mean_seconds == pytest.approx(6)
    assert (now.completed, now.failed, now.cancelled, now.exact) == (1, 0, 0, True)
    assert now.mean_seconds == pytest.approx(2)


def test_a_span_in_which_nothing_ended(insights: Insights):
    spans = insights.history(seconds=60, spans=60)
    assert [tuple(span)[1:] for span in spans] == [(0, 0, 0, None, True)] * 60


def test_spans_before_the_latest_jobs_are_not_exact(connection: Connection, insights: Insights):
    for days_ago in (0, 1, 2, 3):
        put_ended(connection, "completed", f"now() - interval '{days_ago} days 1 second'")
    spans = insights.history(seconds=86_400, spans=5, cap=2)
    assert [(span.completed, span.exact) for span in spans if span.completed] == [(1, False), (1, True)]
    assert [span.exact for span in spans] == sorted(span.exact for span in spans)
    assert all(span.exact for span in insights.history(seconds=86_400, spans=5, cap=5))


def put_calls(connection: Connection, *spent: bool | None, days_ago: int = 0) -> UUID:
    """The calls of one job, that were charged, not charged, or nobody knows."""
    job_id = jobs.put_job(connection, cost=4)
    for number, told in enumerate(spent, start=1):
        connection.execute(
            "INSERT INTO provider_call (job_id, number, lease_token, provider, key_label, started_at, spent)"
            " VALUES (%s, %s, gen_random_uuid(), 'far', 'far-1', now() - make_interval(days => %s), %s)",
            (job_id, number, days_ago, told),
        )
    return job_id


def test_what_was_paid_for_more_than_once_is_counted(connection: Connection, insights: Insights):
    put_calls(connection, True)
    put_calls(connection, False, True)
    put_calls(connection, True, True, days_ago=2)
    assert insights.duplicate_calls() == (0, 0, 0, None)
    put_calls(connection, True, None)
    latest = put_calls(connection, True, False, None, True)
    assert insights.duplicate_calls() == (2, 3, 12, latest)
    assert insights.duplicate_calls(cap=1).jobs == 1
    assert insights.duplicate_calls(seconds=3 * 86_400).jobs == 3


def test_what_came_of_the_calls_of_late(connection: Connection, insights: Insights):
    def ended(number: int, spent: bool | None, code: str | None = None, model: str | None = "m") -> None:
        connection.execute(
            "UPDATE provider_call SET finished_at = now(), milliseconds = 100 * %(number)s, error_code = %(code)s,"
            " model = %(model)s, spent = %(spent)s WHERE job_id = %(job)s AND number = %(number)s",
            {"number": number, "spent": spent, "code": code, "model": model, "job": job_id},
        )

    put_calls(connection, True, days_ago=1)
    job_id = put_calls(connection, True, True, True, False, None, None)
    ended(1, True)
    ended(3, True)
    ended(2, True, "no_image")
    ended(4, False, "rate_limited", None)
    ended(5, None, "provider_timeout", None)
    found = [(each.model, each.outcome, each.calls, *each[5:]) for each in insights.calls()]
    assert found == [
        ("m", "ok", 2, 200.0, 0, 0, True),
        ("m", "no_image", 1, 200.0, 1, 0, True),
        (None, "provider_timeout", 1, 500.0, 0, 1, True),
        (None, "rate_limited", 1, 400.0, 0, 0, True),
        (None, None, 1, None, 0, 0, True),
    ]
    assert sum(each.calls for each in insights.calls(seconds=3 * 86_400)) == 7
    assert {each.exact for each in insights.calls(cap=3)} == {False}
    assert sum(each.calls for each in insights.calls(cap=3)) == 3


OLD_CALLS = """
INSERT INTO provider_call (job_id, number, lease_token, provider, key_label, started_at)
SELECT generation_uuid(), 1, gen_random_uuid(), 'local', 'local', now() - n * interval '1 minute'
  FROM generate_series(1, 60000) n
"""


def test_the_calls_of_late_are_found_without_reading_the_old_ones(connection: Connection):
    connection.execute(OLD_CALLS.encode())
    connection.execute("ANALYZE provider_call")
    plan = _explain(connection, "calls", {"seconds": 3600, "cap": 50_000})
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


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


def test_a_job_that_was_cancelled_or_failed_unpaid_gave_nothing_back(connection: Connection, insights: Insights):
    jobs.put_job(connection, "cancelled", cost=5)
    jobs.put_job(connection, "failed", cost=5)
    jobs.put_job(connection, "failed", cost=3, debited=True)
    hour, _ = insights.throughput()
    assert (hour.credits_charged, hour.refunds, hour.credits_refunded) == (0, 1, 3)


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


def test_failures_by_code(connection: Connection, insights: Insights, population: Population):
    failures = insights.failures_by_code()
    assert [(failure.code, failure.jobs, failure.example) for failure in failures] == [
        ("content_blocked", 1, population.blocked),
        ("no_image", 1, population.failed),
    ]
    assert failures[0].message == "the prompt was refused"
    connection.execute("SELECT pg_sleep(0.01)")
    assert insights.failures_by_code(seconds=0.01) == []


def test_one_job_from_all_sides(insights: Insights, population: Population):
    details = insights.job_details(population.failed)
    assert details is not None
    assert (details.job["status"], details.job["error_code"], details.queue_position) == ("failed", "no_image", None)
    assert [(attempt["attempt"], attempt["outcome"], attempt["worker"]) for attempt in details.attempts] == [
        (1, "failed", WORKER)
    ]
    assert [(call["number"], call["spent"], call["milliseconds"]) for call in details.calls] == [(1, True, 120)]
    assert [(entry["kind"], entry["amount"]) for entry in details.entries] == [("debit", -1), ("refund", 1)]


def test_the_place_in_line(insights: Insights, population: Population):
    positions = [insights.queue_position(job_id) for job_id in (*population.pending, population.bobs)]
    assert positions == [0, 1, 2, 3]
    assert insights.queue_position(population.bobs, cap=2) == 2
    assert insights.queue_position(population.scheduled) is None


def test_jobs_are_found_by_how_their_ids_begin(insights: Insights, population: Population):
    text = str(population.failed)
    assert insights.find_jobs(text) == [population.failed]
    assert insights.find_jobs(text[:23]) == [population.failed]
    assert len(insights.find_jobs(text[0])) == 2
    assert insights.find_jobs(text.upper()) == [population.failed]
    for nothing in ("", "-", "x", text + "0", "ffffffff"):
        assert insights.find_jobs(nothing) == []


def test_dead_letters_page_by_page(insights: Insights, population: Population):
    first, cursor = insights.dead_letters(limit=1)
    rest, end = insights.dead_letters(limit=1, cursor=cursor)
    assert [letter.id for letter in first + rest] == [population.blocked, population.failed]
    assert end is None
    assert (rest[0].error_code, rest[0].debited, rest[0].replayed_as) == ("no_image", True, None)
    with pytest.raises(InvalidRequest, match="cursor"):
        insights.dead_letters(cursor="yesterday")


def test_dead_letters_by_code_and_by_user(connection: Connection, insights: Insights, population: Population):
    def found(**filters: object) -> list[UUID]:
        return [letter.id for letter in insights.dead_letters(**filters).letters]  # pyright: ignore[reportArgumentType]

    assert found(code="no_image") == [population.failed]
    assert found(user="bob") == []
    new = replay(connection, population.failed)
    assert insights.dead_letters(code="no_image").letters[0].replayed_as == new.id
    details = insights.job(population.failed)
    assert details is not None
    assert details["replayed_as"] == new.id


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_dead_letters_by_code_are_the_same_however_few_are_looked_at(
    connection: Connection, insights: Insights, limit: int, monkeypatch: pytest.MonkeyPatch
):
    put = [jobs.put_job(connection, "failed", error_code="rare" if n % 5 == 0 else "common") for n in range(23)]
    monkeypatch.setitem(ResultInsights.look_at_dead_letters.__kwdefaults__, "cap", 3)  # pyright: ignore[reportArgumentType]
    found: list[UUID] = []
    cursor = None
    while not found or cursor is not None:
        letters, cursor = insights.dead_letters(code="rare", limit=limit, cursor=cursor)
        assert len(letters) == limit or cursor is None
        found += [letter.id for letter in letters]
    assert found == list(reversed(put[::5]))


def test_what_a_list_shows_beside_the_columns(connection: Connection, insights: Insights, population: Population):
    glances = insights.job_glances([population.completed, population.processing, *population.pending, uuid4()])
    assert set(glances) == {population.completed, population.processing, *population.pending}
    assert [glances[job].place for job in population.pending] == [0, 1, 2]
    assert glances[population.completed].images == 1
    assert (glances[population.processing].worker, glances[population.processing].place) == ("worker-1", None)
    assert glances[population.processing].prompt == jobs.PROMPT["prompt"]
    assert insights.job_glances(population.pending, head=2)[population.pending[2]].place is None
    huge = jobs.put_job(connection, payload={"prompt": "x" * 9_000, "inputs": {"a": "y" * 9_000}})
    made = jobs.put_job(
        connection, kind="image_processing", provider="none", payload={"operations": [{"type": "thumbnail"}, 1]}
    )
    glances = insights.job_glances([huge, made])
    assert len(glances[huge].prompt or "") == 500
    assert glances[made].operations == ["thumbnail"]


def test_what_was_changed_about_a_job_and_what_keeps_it(
    connection: Connection, insights: Insights, population: Population
):
    cancel_job(connection, population.bobs, by=Author("cli:ada", "a slip"))
    cancel_job(connection, population.pending[0], by=Author("cli:ada"))
    [change] = insights.job_changes(population.bobs)
    assert (change.action, change.actor, change.reason) == ("job.cancel", "cli:ada", "a slip")
    assert insights.job_pauses(population.bobs) == []
    jobs.configure(connection, paused__user__bob={"reason": "owes"})
    assert [(pause.name, pause.reason) for pause in insights.job_pauses(population.bobs)] == [
        ("paused.user.bob", "owes")
    ]
    assert insights.job_images(population.completed) == [{"key": "ada/1.webp"}]
    assert insights.job_images(population.failed) is insights.job_images(uuid4()) is None


def test_a_users_jobs_in_each_state(connection: Connection, insights: Insights, population: Population):
    counts = {count.status: (count.jobs, count.exact) for count in insights.jobs_of_user("ada")}
    assert counts == {
        "pending": (3, True), "scheduled": (1, True), "rate_limited": (1, True), "processing": (1, True),
        "completed": (1, True), "failed": (2, True), "cancelled": (1, True),
    }  # fmt: skip
    capped = {count.status: (count.jobs, count.exact) for count in insights.jobs_of_user("ada", cap=2)}
    assert (capped["pending"], capped["scheduled"], capped["failed"]) == ((2, False), (1, True), (0, False))
    assert all(count.jobs == 0 and count.exact for count in insights.jobs_of_user("nobody"))


def test_a_users_jobs_are_counted_up_to_a_cap(connection: Connection):
    jobs.offer_local(connection)
    connection.execute(MANY.replace("'user-' || n % 100", "'ada'").encode())
    connection.execute("ANALYZE generation_job")
    assert _blocks(connection, "jobs_of_user", {"user": "ada", "cap": 1000}) < 500  # 1,825 where the index is not named


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


DONE = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, status, started_at, finished_at, result, error_code)
SELECT 'text_to_image', 'ada', 'local', '{}', 0, status, now(), now() + n * interval '1 second',
       CASE status WHEN 'completed' THEN '{"images": [{"key": "a"}]}'::jsonb END,
       CASE status WHEN 'failed' THEN CASE n WHEN 500 THEN 'rare' ELSE 'common' END END
  FROM generate_series(1, 20000) n, LATERAL (SELECT CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'completed' END) s (status)
"""


def test_a_list_of_a_long_queue_reads_its_jobs_and_the_heads_of_their_lanes(connection: Connection):
    jobs.offer_local(connection)
    connection.execute(MANY.encode())
    connection.execute("ANALYZE generation_job")
    ids = [row[0] for row in connection.execute("SELECT id FROM generation_job ORDER BY id DESC LIMIT 50")]
    plan = b"EXPLAIN (ANALYZE, FORMAT JSON) "
    for statement, values in (
        (load_statements()["job_glances"], {"ids": ids, "head": 1000}),
        (load_statements()["named_jobs"], {"ids": ids}),
    ):
        row = connection.execute(plan + statement, values).fetchone()
        assert row is not None
        assert _most_rows(row[0][0]["Plan"]) <= 1000


def test_changes_to_a_job_are_found_among_many_by_their_target(connection: Connection):
    connection.execute(
        "INSERT INTO audit_event (actor, action, target)"
        " SELECT 'cli:ada', 'job.cancel', 'job:' || generation_uuid() FROM generate_series(1, 20000)"
    )
    connection.execute("ANALYZE audit_event")
    plan = _explain(connection, "job_changes", {"id": uuid4(), "limit": 100})
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20


@pytest.mark.parametrize("code", [None, "rare"])
def test_dead_letters_are_found_without_reading_what_was_completed(connection: Connection, code: str | None):
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(DONE.encode())
    connection.execute("ANALYZE generation_job")
    values = dict.fromkeys(("before_time", "before_id", "user"), None) | {
        "code": code,
        "limit": 50,
        "cap": 50 if code is None else FAR,
    }
    plan = _explain(connection, "dead_letters", values)
    assert plan["Actual Rows"] == (50 if code is None else 1)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 400


def test_the_latest_spans_are_told_by_the_latest_jobs(connection: Connection):
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            DONE.replace("now() + n", "now() - n").replace("now(),", "now() - interval '1 day',").encode()
        )
    connection.execute("ANALYZE generation_job")
    for spans in (60, 6000):
        plan = _explain(connection, "history", {"seconds": 60, "spans": spans, "cap": 1000})
        assert 0 < _most_rows(plan) <= 1000


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
