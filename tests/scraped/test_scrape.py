"""A real Prometheus scrapes a running worker and answers for it; its own tool finds the format in order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from generation_worker.db.embedded import free_port
from tests.e2e.conftest import StartWorker
from tests.scraped.server import scraping
from tests.support.database import Connection
from tests.support.jobs import enqueue, grant
from tests.support.waiting import wait_until

FIXED = {
    "worker_jobs_total": 4,
    "worker_jobs_pending": 0,
    "worker_jobs_processing": 0,
    "worker_jobs_completed": 3,
    "worker_jobs_failed": 1,
    "worker_active_workers": 1,
    "worker_success_rate": 0.75,
    "worker_average_job_time > bool 0": 1,
}
OF_THE_PROCESS = {
    'worker_provider_calls_total{provider="local",outcome="ok"}': 3,
    "worker_storage_seconds_count": 3,
    "histogram_quantile(0.5, worker_generation_seconds_bucket{result='ok'}) > bool 0": 1,
    "worker_refunds_total": 1,
    "sum(worker_ledger_violations)": 0,
}
THE_ONE_COMPLAINT = 'worker_jobs_total non-counter metrics should not have "_total" suffix\n'
"""The name is as old as the dashboards that have it; the number goes down when old jobs are deleted."""


@pytest.fixture
def port(app: Connection, start_worker: StartWorker) -> int:
    """Of a worker that has done three jobs and failed at one."""
    grant(app)
    for prompt in ("a kite", "a boat", "a hill", "a blank page"):
        enqueue(app, payload={"prompt": prompt})
    port = free_port()
    settings = {"WORKER_ENABLE_METRICS": "true", "HEALTH_HOST": "127.0.0.1", "PORT": str(port)}
    worker = start_worker(**settings, LOCAL_FAULTS="blank=no_image", WORKER_MAX_RETRIES="0")
    worker.wait_for("attempt.settled", 4)
    worker.wait_for("ledger.checked")
    return port


def test_prometheus_knows_what_the_worker_did(port: int, programs: Path, tmp_path: Path) -> None:
    with scraping(programs, tmp_path, port) as prometheus:
        wait_until(lambda: prometheus.value("worker_jobs_total") == 4, "it has scraped")
        assert {query: prometheus.value(query) for query in FIXED} == FIXED
        assert {query: prometheus.value(query) for query in OF_THE_PROCESS} == OF_THE_PROCESS
        assert (prometheus.target()["health"], prometheus.target()["lastError"]) == ("up", "")
        kinds = prometheus.kinds()
        assert {name: kinds[name] for name in FIXED if name in kinds} == dict.fromkeys([*FIXED][:-1], "gauge")
        assert kinds["worker_generation_seconds"] == "histogram"


def test_promtool_has_one_complaint(port: int, programs: Path) -> None:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    command = [programs / "promtool", "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert checked.stdout + checked.stderr == THE_ONE_COMPLAINT
