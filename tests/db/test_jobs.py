"""Jobs as the database has them: found, listed, counted, and how they ended. No query reads more than its cap."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import sql

from generation_worker.db import jobs as job_queries
from generation_worker.db.audit_trail import Author
from generation_worker.db.enqueue import replay
from generation_worker.db.fleet import pauses_of_job
from generation_worker.db.jobs import cancel_job
from generation_worker.db.query import BEGINNING, FAR, Queries
from generation_worker.domain.refusals import InvalidRequest
from tests.support import jobs
from tests.support.database import SCHEMA, Connection, Database, queries_on
from tests.support.plans import WAITING_JOBS, blocks_read, explain, most_rows
from tests.support.populated import WORKER, Population, populate


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
    assert [(span.span, span.completed, span.exact) for span in job_queries.throughput(queries)] == [
        ("hour", 0, True),
        ("day", 0, True),
    ]
    assert job_queries.failures_by_code(queries) == []
    assert job_queries.duplicate_calls(queries) == (0, 0, 0, None)
    assert job_queries.calls(queries) == []
    assert job_queries.find_job_record(queries, uuid4()) is None
    assert job_queries.list_dead_letters(queries) == ([], None)
    assert job_queries.list_jobs(queries, None, limit=1) == ([], None)


@pytest.mark.usefixtures("population")
def test_throughput(queries: Queries):
    hour, day = job_queries.throughput(queries)
    assert (hour.completed, hour.failed, hour.cancelled, hour.exact) == (1, 2, 1, True)
    assert day[1:4] == hour[1:4]
    assert (hour.credits_charged, hour.refunds, hour.credits_refunded) == (1, 2, 2)
    assert hour.mean_seconds is not None
    assert (hour.per_minute, day.per_minute) == (0.02, 0.0)


@pytest.mark.usefixtures("population")
def test_throughput_of_many_is_scaled_up_from_the_latest(queries: Queries):
    hour, _ = job_queries.throughput(queries, cap=2)
    assert not hour.exact
    assert hour.completed + hour.failed + hour.cancelled > 1000


def put_ended(connection: Connection, status: str, ended: str, *, took: float = 2) -> None:
    """``ended`` is SQL for when it was."""
    at = sql.SQL(ended)  # pyright: ignore[reportArgumentType]
    started = sql.SQL("{} - make_interval(secs => {})").format(at, took)
    jobs.put_job(connection, status, started_at=started, finished_at=at)


def test_what_ended_in_each_of_the_latest_spans(connection: Connection, queries: Queries):
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
    first, before, now = job_queries.history(queries, seconds=3600, spans=3)
    assert now.since - before.since == before.since - first.since == timedelta(hours=1)
    assert first[1:] == (0, 0, 0, None, True)
    assert (before.completed, before.failed, before.cancelled, before.exact) == (2, 1, 1, True)
    assert before.mean_seconds == pytest.approx(6)
    assert (now.completed, now.failed, now.cancelled, now.exact) == (1, 0, 0, True)
    assert now.mean_seconds == pytest.approx(2)


def test_a_span_in_which_nothing_ended(queries: Queries):
    spans = job_queries.history(queries, seconds=60, spans=60)
    assert [tuple(span)[1:] for span in spans] == [(0, 0, 0, None, True)] * 60


def test_spans_before_the_latest_jobs_are_not_exact(connection: Connection, queries: Queries):
    for days_ago in (0, 1, 2, 3):
        put_ended(connection, "completed", f"now() - interval '{days_ago} days 1 second'")
    spans = job_queries.history(queries, seconds=86_400, spans=5, cap=2)
    assert [(span.completed, span.exact) for span in spans if span.completed] == [(1, False), (1, True)]
    assert [span.exact for span in spans] == sorted(span.exact for span in spans)
    assert all(span.exact for span in job_queries.history(queries, seconds=86_400, spans=5, cap=5))


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


def test_what_was_paid_for_more_than_once_is_counted(connection: Connection, queries: Queries):
    put_calls(connection, True)
    put_calls(connection, False, True)
    put_calls(connection, True, True, days_ago=2)
    assert job_queries.duplicate_calls(queries) == (0, 0, 0, None)
    put_calls(connection, True, None)
    latest = put_calls(connection, True, False, None, True)
    assert job_queries.duplicate_calls(queries) == (2, 3, 12, latest)
    assert job_queries.duplicate_calls(queries, cap=1).jobs == 1
    assert job_queries.duplicate_calls(queries, seconds=3 * 86_400).jobs == 3


def test_what_came_of_the_calls_of_late(connection: Connection, queries: Queries):
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
    found = [(each.model, each.outcome, each.calls, *each[5:]) for each in job_queries.calls(queries)]
    assert found == [
        ("m", "ok", 2, 200.0, 0, 0, True),
        ("m", "no_image", 1, 200.0, 1, 0, True),
        (None, "provider_timeout", 1, 500.0, 0, 1, True),
        (None, "rate_limited", 1, 400.0, 0, 0, True),
        (None, None, 1, None, 0, 0, True),
    ]
    assert sum(each.calls for each in job_queries.calls(queries, seconds=3 * 86_400)) == 7
    assert {each.exact for each in job_queries.calls(queries, cap=3)} == {False}
    assert sum(each.calls for each in job_queries.calls(queries, cap=3)) == 3


OLD_CALLS = """
INSERT INTO provider_call (job_id, number, lease_token, provider, key_label, started_at)
SELECT generation_uuid(), 1, gen_random_uuid(), 'local', 'local', now() - n * interval '1 minute'
  FROM generate_series(1, 60000) n
"""


def test_the_calls_of_late_are_found_without_reading_the_old_ones(connection: Connection):
    connection.execute(OLD_CALLS.encode())
    connection.execute("ANALYZE provider_call")
    plan = explain(connection, "calls", {"seconds": 3600, "cap": 50_000})
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


def test_a_job_that_was_cancelled_or_failed_unpaid_gave_nothing_back(connection: Connection, queries: Queries):
    jobs.put_job(connection, "cancelled", cost=5)
    jobs.put_job(connection, "failed", cost=5)
    jobs.put_job(connection, "failed", cost=3, debited=True)
    hour, _ = job_queries.throughput(queries)
    assert (hour.credits_charged, hour.refunds, hour.credits_refunded) == (0, 1, 3)


def test_failures_by_code(connection: Connection, queries: Queries, population: Population):
    failures = job_queries.failures_by_code(queries)
    assert [(failure.code, failure.jobs, failure.example) for failure in failures] == [
        ("content_blocked", 1, population.blocked),
        ("no_image", 1, population.failed),
    ]
    assert failures[0].message == "the prompt was refused"
    connection.execute("SELECT pg_sleep(0.01)")
    assert job_queries.failures_by_code(queries, seconds=0.01) == []


def test_one_job_from_all_sides(queries: Queries, population: Population):
    details = job_queries.find_job_record(queries, population.failed)
    assert details is not None
    assert (details.job["status"], details.job["error_code"], details.queue_position) == ("failed", "no_image", None)
    assert [(attempt["attempt"], attempt["outcome"], attempt["worker"]) for attempt in details.attempts] == [
        (1, "failed", WORKER)
    ]
    assert [(call["number"], call["spent"], call["milliseconds"]) for call in details.calls] == [(1, True, 120)]
    assert [(entry["kind"], entry["amount"]) for entry in details.entries] == [("debit", -1), ("refund", 1)]


def test_the_place_in_line(queries: Queries, population: Population):
    positions = [job_queries.queue_position(queries, job_id) for job_id in (*population.pending, population.bobs)]
    assert positions == [0, 1, 2, 3]
    assert job_queries.queue_position(queries, population.bobs, cap=2) == 2
    assert job_queries.queue_position(queries, population.scheduled) is None


def test_jobs_are_found_by_how_their_ids_begin(queries: Queries, population: Population):
    text = str(population.failed)
    assert job_queries.find_jobs(queries, text) == [population.failed]
    assert job_queries.find_jobs(queries, text[:23]) == [population.failed]
    assert len(job_queries.find_jobs(queries, text[0])) == 2
    assert job_queries.find_jobs(queries, text.upper()) == [population.failed]
    for nothing in ("", "-", "x", text + "0", "ffffffff"):
        assert job_queries.find_jobs(queries, nothing) == []


def test_dead_letters_page_by_page(queries: Queries, population: Population):
    first, cursor = job_queries.list_dead_letters(queries, limit=1)
    rest, end = job_queries.list_dead_letters(queries, limit=1, cursor=cursor)
    assert [letter.id for letter in first + rest] == [population.blocked, population.failed]
    assert end is None
    assert (rest[0].error_code, rest[0].debited, rest[0].replayed_as) == ("no_image", True, None)
    with pytest.raises(InvalidRequest, match="cursor"):
        job_queries.list_dead_letters(queries, cursor="yesterday")


def test_dead_letters_by_code_and_by_user(connection: Connection, queries: Queries, population: Population):
    def found(**filters: object) -> list[UUID]:
        return [letter.id for letter in job_queries.list_dead_letters(queries, **filters).letters]  # pyright: ignore[reportArgumentType]

    assert found(code="no_image") == [population.failed]
    assert found(user="bob") == []
    new = replay(connection, population.failed, schema=SCHEMA)
    assert job_queries.list_dead_letters(queries, code="no_image").letters[0].replayed_as == new.id
    job = job_queries.find_job(queries, population.failed)
    assert job is not None
    assert job["replayed_as"] == new.id


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_dead_letters_by_code_are_the_same_however_few_are_looked_at(
    connection: Connection, queries: Queries, limit: int, monkeypatch: pytest.MonkeyPatch
):
    put = [jobs.put_job(connection, "failed", error_code="rare" if n % 5 == 0 else "common") for n in range(23)]
    monkeypatch.setattr(job_queries, "FAR", 3)
    found: list[UUID] = []
    cursor = None
    while not found or cursor is not None:
        letters, cursor = job_queries.list_dead_letters(queries, code="rare", limit=limit, cursor=cursor)
        assert len(letters) == limit or cursor is None
        found += [letter.id for letter in letters]
    assert found == list(reversed(put[::5]))


def test_what_a_list_shows_beside_the_columns(connection: Connection, queries: Queries, population: Population):
    previews = job_queries.preview_jobs(
        queries, [population.completed, population.processing, *population.pending, uuid4()]
    )
    assert set(previews) == {population.completed, population.processing, *population.pending}
    assert [previews[job].queue_position for job in population.pending] == [0, 1, 2]
    assert previews[population.completed].images == 1
    assert (previews[population.processing].worker, previews[population.processing].queue_position) == (
        "worker-1",
        None,
    )
    assert previews[population.processing].prompt == jobs.PROMPT["prompt"]
    assert job_queries.preview_jobs(queries, population.pending, head=2)[population.pending[2]].queue_position is None
    huge = jobs.put_job(connection, payload={"prompt": "x" * 9_000, "inputs": {"a": "y" * 9_000}})
    made = jobs.put_job(
        connection, kind="image_processing", provider="none", payload={"operations": [{"type": "thumbnail"}, 1]}
    )
    previews = job_queries.preview_jobs(queries, [huge, made])
    assert len(previews[huge].prompt or "") == 500
    assert previews[made].operations == ["thumbnail"]


def test_what_was_changed_about_a_job_and_what_keeps_it(
    connection: Connection, queries: Queries, population: Population
):
    cancel_job(queries_on(connection), population.bobs, by=Author("cli:ada", "a slip"))
    cancel_job(queries_on(connection), population.pending[0], by=Author("cli:ada"))
    [change] = job_queries.list_job_changes(queries, population.bobs)
    assert (change.action, change.actor, change.reason) == ("job.cancel", "cli:ada", "a slip")
    assert pauses_of_job(queries, population.bobs) == []
    jobs.configure(connection, paused__user__bob={"reason": "owes"})
    assert [(pause.name, pause.reason) for pause in pauses_of_job(queries, population.bobs)] == [
        ("paused.user.bob", "owes")
    ]
    assert job_queries.find_job_images(queries, population.completed) == [{"key": "ada/1.webp"}]
    assert (
        job_queries.find_job_images(queries, population.failed) is job_queries.find_job_images(queries, uuid4()) is None
    )


def test_a_users_jobs_in_each_state(connection: Connection, queries: Queries, population: Population):
    counts = {count.status: (count.jobs, count.exact) for count in job_queries.count_jobs_of_user(queries, "ada")}
    assert counts == {
        "pending": (3, True), "scheduled": (1, True), "rate_limited": (1, True), "processing": (1, True),
        "completed": (1, True), "failed": (2, True), "cancelled": (1, True),
    }  # fmt: skip
    capped = {
        count.status: (count.jobs, count.exact) for count in job_queries.count_jobs_of_user(queries, "ada", cap=2)
    }
    assert (capped["pending"], capped["scheduled"], capped["failed"]) == ((2, False), (1, True), (0, False))
    assert all(count.jobs == 0 and count.exact for count in job_queries.count_jobs_of_user(queries, "nobody"))


def test_a_users_jobs_are_counted_up_to_a_cap(connection: Connection):
    jobs.offer_local(connection)
    connection.execute(WAITING_JOBS.replace("'user-' || n % 100", "'ada'").encode())
    connection.execute("ANALYZE generation_job")
    read = blocks_read(connection, "jobs_of_user", {"user": "ada", "cap": 1000})
    assert read < 500  # 1,825 where the index is not named


DONE = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, status, started_at, finished_at, result, error_code)
SELECT 'text_to_image', 'ada', 'local', '{}', 0, status, now(), now() + n * interval '1 second',
       CASE status WHEN 'completed' THEN '{"images": [{"key": "a"}]}'::jsonb END,
       CASE status WHEN 'failed' THEN CASE n WHEN 500 THEN 'rare' ELSE 'common' END END
  FROM generate_series(1, 20000) n, LATERAL (SELECT CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'completed' END) s (status)
"""


def test_a_list_of_a_long_queue_reads_its_jobs_and_the_heads_of_their_lanes(connection: Connection):
    jobs.offer_local(connection)
    connection.execute(WAITING_JOBS.encode())
    connection.execute("ANALYZE generation_job")
    ids = [row[0] for row in connection.execute("SELECT id FROM generation_job ORDER BY id DESC LIMIT 50")]
    for statement, values in (("job_previews", {"ids": ids, "head": 1000}), ("named_jobs", {"ids": ids})):
        assert most_rows(explain(connection, statement, values)) <= 1000


def test_changes_to_a_job_are_found_among_many_by_their_target(connection: Connection):
    connection.execute(
        "INSERT INTO audit_event (actor, action, target)"
        " SELECT 'cli:ada', 'job.cancel', 'job:' || generation_uuid() FROM generate_series(1, 20000)"
    )
    connection.execute("ANALYZE audit_event")
    plan = explain(connection, "job_changes", {"id": uuid4(), "limit": 100})
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20


@pytest.mark.parametrize("code", [None, "rare"])
def test_dead_letters_are_found_without_reading_what_was_completed(connection: Connection, code: str | None):
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(DONE.encode())
    connection.execute("ANALYZE generation_job")
    values = {
        "before_time": BEGINNING.at,
        "before_id": BEGINNING.id,
        "user": None,
        "code": code,
        "limit": 50,
        "cap": 50 if code is None else FAR,
    }
    plan = explain(connection, "dead_letters", values)
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
        plan = explain(connection, "history", {"seconds": 60, "spans": spans, "cap": 1000})
        assert 0 < most_rows(plan) <= 1000
