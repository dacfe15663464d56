"""The cost of a read for streams does not grow with the number of jobs there are, nor with what a user has done."""

from __future__ import annotations

from typing import Any

import pytest

from generation_worker.db.streams import HEAD, LATEST, MOST_OF_BATCH, MOST_OF_USER, SCAN_LIMIT
from tests.support.database import Connection
from tests.support.plans import blocks_read, explain, most_rows

# user-0 has nearly all jobs; four fifths have ended, long ago but for a few; the others wait.
MANY = """
SET session_replication_role = replica;
INSERT INTO generation_job (kind, user_id, provider, payload, cost, created_at, run_at, position, status, finished_at,
                            error_code, batch_id)
SELECT 'text_to_image', 'user-' || CASE n % 10 WHEN 0 THEN n / 10 % 1000 ELSE 0 END, 'local', '{"prompt": "a"}', 0,
       now() - n * interval '1 second', now(), now() - n * interval '1 second',
       CASE WHEN n % 5 = 0 THEN 'pending' ELSE 'failed' END,
       CASE WHEN n % 5 > 0 THEN now() - n * interval '1 second' END, 'internal_error',
       md5((n / 4)::text)::uuid
  FROM generate_series(1, 100000) n;
RESET session_replication_role;
"""
CAPS: dict[str, Any] = {
    "of_user": MOST_OF_USER,
    "of_batch": MOST_OF_BATCH,
    "latest": LATEST,
    "cap": SCAN_LIMIT,
    "head": HEAD,
}
NOTHING: dict[str, Any] = {"job": None, "batch": None, "whose": None, "user": None, "horizon": None}


@pytest.fixture
def many(connection: Connection) -> Connection:
    connection.execute(MANY.encode())
    connection.execute("VACUUM ANALYZE generation_job")
    return connection


def test_a_look_reads_what_is_watched(many: Connection):
    """200 jobs, and a user who has had 90,000."""
    jobs = [row[0] for row in many.execute("SELECT id FROM generation_job WHERE status = 'pending' LIMIT 200")]
    now = many.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, now()").fetchone()
    assert now is not None
    look = {**CAPS, "jobs": jobs, "users": [], "lanes": [], "horizon": now[0], "read_at": now[1]}
    assert blocks_read(many, "read_changes", look) <= 4 * len(jobs) + 20
    of_users = look | {"users": ["user-0", "user-1"]}
    assert blocks_read(many, "read_changes", of_users) <= 4 * (len(jobs) + 2 * MOST_OF_USER) + 100
    all_waiting = [row[0] for row in many.execute("SELECT id FROM generation_job WHERE status = 'pending' LIMIT 8000")]
    assert most_rows(explain(many, "read_changes", look | {"jobs": all_waiting})) <= len(all_waiting)
    with_places = look | {"lanes": ["local"]}
    assert blocks_read(many, "read_changes", with_places) <= 4 * len(jobs) + 20 + HEAD + 100


def test_a_users_stream_begins_with_few_rows(many: Connection):
    for whose in ("user-0", "user-7", "nobody"):
        begins = {**CAPS, **NOTHING, "whose": whose, "user": whose}
        assert blocks_read(many, "start_stream", begins) <= 4 * MOST_OF_USER + 100
        goes_on = begins | {"horizon": 1}
        assert blocks_read(many, "start_stream", goes_on) <= 4 * (MOST_OF_USER + LATEST) + LATEST + 100
        more = 5 * LATEST
        assert blocks_read(many, "start_stream", goes_on | {"latest": more}) <= 4 * (MOST_OF_USER + more) + more + 100


def test_a_job_and_a_batch_are_found_by_their_ids(many: Connection):
    row = many.execute("SELECT id, batch_id FROM generation_job LIMIT 1").fetchone()
    assert row is not None
    assert blocks_read(many, "start_stream", {**CAPS, **NOTHING, "job": row[0]}) <= 10
    assert blocks_read(many, "start_stream", {**CAPS, **NOTHING, "batch": row[1]}) <= 40
