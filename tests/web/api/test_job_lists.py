"""Lists of jobs, page by page, and what a page costs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from generation_worker.db import jobs as job_queries
from generation_worker.db.query import BEGINNING
from tests.support import jobs
from tests.support.database import Connection
from tests.support.plans import explain, most_rows
from tests.support.populated import Population
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey


def listed(client: httpx.Client, headers: Any = None, **filters: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        page = good(client.get("/worker/jobs", params=filters, headers=headers))
        found += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            return found
        filters["cursor"] = page["next_cursor"]


@pytest.mark.parametrize("user", [{}, {"user_id": "ada"}])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_add_up(client: httpx.Client, connection: Connection, population: Population, user: Any, limit: int):
    order = "created_at DESC, id DESC" if user else "id DESC"  # ids begin with the time, as far as the millisecond
    rows = connection.execute(f"SELECT id, user_id FROM generation_job ORDER BY {order}".encode()).fetchall()
    expected = [str(job) for job, owner in rows if not user or owner == "ada"]
    assert listed(client, limit=limit, **user) == expected


def test_jobs_of_one_moment_are_not_lost(client: httpx.Client, connection: Connection):
    made = {str(jobs.put_job(connection, created_at="2026-01-01T00:00:00Z")) for _ in range(7)}
    assert set(listed(client, user_id="ada", limit=2)) == made


def test_filters(client: httpx.Client, population: Population, connection: Connection):
    assert listed(client, status="failed") == [str(population.blocked), str(population.failed)]
    assert listed(client, status=["processing", "cancelled"], limit=1) == [
        str(population.processing),
        str(population.cancelled),
    ]
    assert listed(client, user_id="bob") == [str(population.bobs)]
    assert listed(client, user_id="nobody") == []
    assert listed(client, kind="image_conversion") == []
    assert len(listed(client, kind="text_to_image", user_id="ada", status="pending")) == 3


def test_a_key_of_one_user_lists_that_user(client: httpx.Client, population: Population, key: MakeKey):
    bob = key("read", user="bob")
    assert listed(client, bob) == listed(client, bob, user_id="bob") == [str(population.bobs)]
    problem(client.get("/worker/jobs", params={"user_id": "ada"}, headers=bob), 404, "user_not_found")


def test_a_filter_that_lets_little_through_still_comes_to_its_end(
    client: httpx.Client, population: Population, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_queries, "LIST_SCAN_LIMIT", 2)
    page = good(client.get("/worker/jobs", params={"status": "completed"}))
    assert page["jobs"] == []
    assert page["next_cursor"] is not None
    assert listed(client, status="completed") == [str(population.completed)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "MjAyNi0xMS0yMg"},
        {"limit": 0},
        {"limit": 101},
        {"status": "done"},
        {"kind": "painting"},
        {"offset": 5},
        {"user_id": ""},
    ],
)
def test_what_is_not_valid_is_named(client: httpx.Client, wrong: dict[str, Any]):
    [name] = wrong
    found = problem(client.get("/worker/jobs", params=wrong), 422, "invalid_request")
    assert found["field"] in (name, f"query.{name}", f"query.{name}.0")


MANY = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, created_at, run_at)
SELECT 'text_to_image', 'user-' || CASE n % 10 WHEN 0 THEN n / 10 % 1000 ELSE 0 END, 'local', '{"prompt": "a"}', 1,
       now() - n * interval '1 second', now()
  FROM generate_series(1, 100000) n
"""


def test_a_page_costs_the_same_however_many_jobs_there_are(connection: Connection):
    """A filter that lets nothing through looks at a cap of rows; without one a page looks at its own."""
    connection.execute(MANY.encode())
    connection.execute("ANALYZE generation_job")
    values: dict[str, Any] = {
        "user": "user-0",
        "before_time": BEGINNING.at,
        "before_id": BEGINNING.id,
        "kind": None,
        "limit": 21,
    }
    for statement in ("list_jobs", "list_jobs_of_user"):
        assert most_rows(explain(connection, statement, values | {"cap": 21, "statuses": None})) <= 21
        assert most_rows(explain(connection, statement, values | {"cap": 5000, "statuses": ["failed"]})) <= 5000


RUNNING = """
UPDATE generation_job
   SET status = 'processing', debited = true, attempt = 1, max_attempts = 4, lease_token = gen_random_uuid(),
       locked_by = 'worker-1', locked_at = now(), lease_expires_at = now() + interval '1 minute', started_at = now()
 WHERE user_id <> 'user-0'
"""


def test_a_page_costs_the_same_however_many_jobs_of_others_run(connection: Connection):
    connection.execute(MANY.encode())
    connection.execute(RUNNING.encode())
    connection.execute("ANALYZE generation_job")
    values: dict[str, Any] = {
        **{"user": "user-0", "before_time": BEGINNING.at, "before_id": BEGINNING.id},
        **{"kind": None, "statuses": None, "limit": 21, "cap": 21},
    }
    assert most_rows(explain(connection, "list_jobs_of_user", values)) <= 21
