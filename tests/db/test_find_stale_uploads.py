"""An upload goes when it is old and no job that waits or runs names it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from generation_worker.db import protocol as store
from generation_worker.db.statements import load_statements
from generation_worker.ports import StoredObject
from tests.support.database import Connection
from tests.support.jobs import put_job
from tests.support.protocol import Worker

WEEK = 7 * 86_400.0
OLD, YOUNG = 8 * 86_400.0, 6 * 86_400.0
MANY = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, status, started_at, finished_at, result)
SELECT 'text_to_image', 'ada', 'local', '{"prompt": "a", "images": [{"key": "uploads/a"}]}', 0, 'completed', now(),
       now(), '{"images": [{"key": "a"}]}'
  FROM generate_series(1, 20000)
"""


def uploaded(key: str, seconds_ago: float = OLD) -> StoredObject:
    return StoredObject(key, datetime.now(UTC) - timedelta(seconds=seconds_ago))


def stale(worker: Worker, *uploads: StoredObject) -> list[str]:
    return sorted(worker.store.find_stale_uploads(uploads, age=WEEK))


def naming(connection: Connection, status: str, payload: dict[str, Any]) -> None:
    put_job(connection, status, payload=payload)


def test_what_is_old_and_unnamed_goes(worker: Worker) -> None:
    assert stale(worker, uploaded("uploads/a"), uploaded("uploads/b", YOUNG)) == ["uploads/a"]


@pytest.mark.parametrize("status", ["pending", "scheduled", "rate_limited", "processing"])
@pytest.mark.parametrize(
    "payload",
    [
        {"prompt": "a", "images": [{"url": "https://a.test/b"}, {"key": "uploads/a"}]},
        {"user_image": {"key": "uploads/a"}, "cloth_image": {"key": "shop/b"}},
        {"image": {"key": "uploads/a"}, "operations": [{"type": "thumbnail"}]},
    ],
)
def test_what_a_job_still_needs_is_kept(worker: Worker, connection: Connection, status: str, payload: Any) -> None:
    naming(connection, status, payload)
    assert stale(worker, uploaded("uploads/a"), uploaded("uploads/b")) == ["uploads/b"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_only_ended_jobs_name_goes(worker: Worker, connection: Connection, status: str) -> None:
    naming(connection, status, {"image": {"key": "uploads/a"}, "operations": [{"type": "thumbnail"}]})
    assert stale(worker, uploaded("uploads/a")) == ["uploads/a"]


def test_a_payload_of_any_shape_hinders_nothing(worker: Worker, connection: Connection) -> None:
    odd: list[dict[str, Any]] = [{}, {"key": None}, {"image": {"key": 5}}, {"images": [[], "uploads/a"]}]
    for payload in odd:
        naming(connection, "pending", payload)
    assert stale(worker, uploaded("uploads/a")) == ["uploads/a"]


def test_among_too_many_jobs_all_is_kept(
    worker: Worker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOOKED_THROUGH", 2)
    for _ in range(2):
        naming(connection, "pending", {"prompt": "a"})
    assert stale(worker, uploaded("uploads/a")) == ["uploads/a"]
    naming(connection, "processing", {"prompt": "a"})
    assert stale(worker, uploaded("uploads/a")) == []


def test_ended_jobs_are_not_looked_at(worker: Worker, connection: Connection) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(MANY)
    connection.execute("ANALYZE generation_job")
    values = {"keys": ["a"], "modified": [datetime.now(UTC) - timedelta(days=8)], "age": WEEK, "cap": 50_000}
    plan = connection.execute(b"EXPLAIN " + load_statements()["find_stale_uploads"], values).fetchall()
    assert not [row for row in plan if "Seq Scan on generation_job" in row[0]]
