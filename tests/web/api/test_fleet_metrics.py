"""``GET /metrics``: in the format that the scraper names, with the figures that it wants."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from generation_worker.events import Events
from generation_worker.metrics import Metrics
from generation_worker.web.api.fleet import metrics_router
from generation_worker.web.app import create_app
from tests.metrics.reading import OPENMETRICS, samples, value
from tests.metrics.scripted_queries import ScriptedQueries

REPORT = {"version": "1", **dict.fromkeys(("concurrency", "busy", "stuck", "unwritten", "ready", "listening"), 1)}


@pytest.fixture
def queries() -> ScriptedQueries:
    return ScriptedQueries(jobs={"pending": 3})


@pytest.fixture
def client(queries: ScriptedQueries) -> TestClient:
    metrics = Metrics(Events(), ("local",))
    metrics.watch(lambda: REPORT, queries)
    return TestClient(create_app([metrics_router], scrape=metrics.scrape))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_each_format(client: TestClient, accept: str, content_type: str) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content_type)
    assert value(samples(answer.content, answer.headers["content-type"]), "worker_jobs_pending") == 3


def test_a_scraper_may_leave_the_database_alone(client: TestClient, queries: ScriptedQueries) -> None:
    answer = client.get("/metrics", params={"fleet": "false"})
    assert b"worker_busy" in answer.content
    assert b"worker_jobs_pending" not in answer.content
    assert queries.asked == 0
