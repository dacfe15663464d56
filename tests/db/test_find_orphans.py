"""An object is an orphan only if its job is known, is over, and does not name it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from generation_worker.db.statements import load_statements
from generation_worker.ports import StoredObject
from tests.support.database import Connection
from tests.support.jobs import put_job
from tests.support.protocol import Worker, everything

DAY = 86_400.0
MANY = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, status, started_at, finished_at, result)
SELECT 'text_to_image', 'ada', 'local', '{}', 0, 'completed', now(), now(), '{"images": [{"key": "a"}]}'
  FROM generate_series(1, 20000)
"""


def stored(key: str, seconds_ago: float = DAY + 60) -> StoredObject:
    return StoredObject(key, datetime.now(UTC) - timedelta(seconds=seconds_ago))


def orphans(worker: Worker, job_id: UUID, *keys: str) -> list[str]:
    return sorted(worker.store.find_orphans([(str(job_id), stored(key)) for key in keys], age=DAY))


def completed(connection: Connection, result: Any) -> UUID:
    return put_job(connection, "completed", result=Jsonb(result))


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_ended_without_an_image_wants_none(worker: Worker, connection: Connection, status: str) -> None:
    assert orphans(worker, put_job(connection, status), "a", "b") == ["a", "b"]


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited", "processing"])
def test_a_job_that_is_not_over_may_want_what_an_attempt_stored(
    worker: Worker, connection: Connection, status: str
) -> None:
    assert orphans(worker, put_job(connection, status), "a") == []


def test_a_completed_job_wants_what_its_result_names(worker: Worker, connection: Connection) -> None:
    job_id = completed(connection, {"images": [{"key": "a.png", "thumbnail_key": "t"}, {"key": "b"}], "model": None})
    assert orphans(worker, job_id, "a.png", "t", "b", "a.jpg", "axpng") == ["a.jpg", "axpng"]


def test_a_completed_job_without_a_thumbnail_wants_none(worker: Worker, connection: Connection) -> None:
    job_id = completed(connection, {"images": [{"key": "a", "thumbnail_key": None}]})
    assert orphans(worker, job_id, "a", "t") == ["t"]


@pytest.mark.parametrize("result", [{}, {"images": []}, {"images": None}, {"image": "a"}, {"images": ["a"]}, [], "a"])
def test_what_a_result_of_another_shape_means_is_not_guessed(
    worker: Worker, connection: Connection, result: object
) -> None:
    assert orphans(worker, completed(connection, result), "a", "b") == []


def test_a_key_that_a_result_names_anywhere_is_kept(worker: Worker, connection: Connection) -> None:
    job_id = completed(connection, {"images": [{"key": "a", "variants": [{"small": "s"}]}], "preview": "p"})
    assert orphans(worker, job_id, "a", "s", "p", "q") == ["q"]


def test_an_object_without_a_job_is_kept(worker: Worker) -> None:
    """The job may have been pruned, and the app may still show its image."""
    assert orphans(worker, uuid4(), "a") == []


def test_each_object_is_judged_by_its_own_job_and_age(worker: Worker, connection: Connection) -> None:
    failed, running = str(put_job(connection, "failed")), str(put_job(connection, "processing"))
    objects = [(failed, stored("old")), (failed, stored("young", DAY - 60)), (running, stored("wanted"))]
    before = everything(connection)
    assert worker.store.find_orphans(objects, age=DAY) == ["old"]
    assert everything(connection) == before
    assert worker.store.find_orphans([], age=DAY) == []


def test_the_jobs_of_a_page_are_looked_up_one_by_one(worker: Worker, connection: Connection) -> None:
    """Not by reading a table of millions of jobs."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(MANY)
    connection.execute("ANALYZE generation_job")
    ids = connection.execute("SELECT id FROM generation_job LIMIT 500").fetchall()
    values = {"keys": ["a"] * 500, "jobs": [row[0] for row in ids], "modified": [datetime.now(UTC)] * 500, "age": DAY}
    plan = connection.execute(b"EXPLAIN " + load_statements()["find_orphans"], values).fetchall()
    assert any("Index Cond: (id = o.job_id)" in line for (line,) in plan), plan
