"""A running worker is scraped: well-formed, in the fixed names, right about what it did, even without a database."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from generation_worker.db.embedded import free_port
from tests.e2e.conftest import QUICK, StartWorker
from tests.metrics.reading import OPENMETRICS, Samples, samples, value
from tests.support.database import Connection, Database
from tests.support.jobs import enqueue, grant, offer_local
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until

SETTINGS = {"WORKER_ENABLE_METRICS": "true", "HEALTH_HOST": "127.0.0.1", "WORKER_MAX_RETRIES": "0"}
FIXED = {
    "worker_jobs_total": 4,
    "worker_jobs_pending": 0,
    "worker_jobs_processing": 0,
    "worker_jobs_completed": 3,
    "worker_jobs_failed": 1,
    "worker_active_workers": 1,
    "worker_success_rate": 0.75,
}


def scrape(port: int, accept: str = OPENMETRICS) -> Samples:
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}, timeout=30)
    assert answer.status_code == 200
    return samples(answer.content, answer.headers["content-type"])


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain;version=0.0.4"])
def test_what_a_worker_has_done(app: Connection, start_worker: StartWorker, accept: str) -> None:
    grant(app)
    for prompt in ("a kite", "a boat", "a hill", "a blank page"):
        enqueue(app, payload={"prompt": prompt})
    port = free_port()
    worker = start_worker(**SETTINGS, PORT=str(port), LOCAL_FAULTS="blank=no_image")
    worker.wait_for("attempt.settled", 4)
    worker.wait_for("ledger.checked")
    found = scrape(port, accept)
    assert {name: value(found, name) for name in FIXED} == FIXED
    assert value(found, "worker_average_job_time") is not None
    assert value(found, "worker_provider_calls_total", provider="local", outcome="ok") == 3
    assert value(found, "worker_provider_calls_total", provider="local", outcome="no_image") == 1
    assert value(found, "worker_generation_seconds_count", provider="local", result="ok") == 3
    assert value(found, "worker_wait_seconds_count", provider="local") == 4
    assert value(found, "worker_storage_seconds_count") == 3
    assert value(found, "worker_credits_charged_total") == 3
    assert value(found, "worker_refunds_total") == 1
    assert value(found, "worker_hour_refunds") == 1
    assert value(found, "worker_ledger_violations", invariant="balance_is_the_sum_of_entries") == 0
    assert value(found, "worker_database_up") == 1


def test_a_worker_is_scraped_while_its_database_is_away(empty_database: Database, tmp_path: Path) -> None:
    empty_database.migrate()
    offer_local(empty_database.connect())
    port = free_port()
    environment = {**empty_database.environment, "STORAGE_DIR": str(tmp_path), **QUICK, **SETTINGS, "PORT": str(port)}
    with WorkerProcess(tmp_path / "worker", environment) as worker:
        worker.wait_for("worker.started")
        wait_until(lambda: value(scrape(port), "worker_database_up") == 1, "the database answers")
        shut_out(empty_database)
        wait_until(lambda: value(scrape(port), "worker_database_up") == 0, "it is away")
        found = scrape(port)
        assert value(found, "worker_jobs_total") is None
        assert value(found, "worker_concurrency") == 5
        wait_until(
            lambda: bool(value(scrape(port), "worker_faults_total", event="database.unavailable")), "it is counted"
        )


def test_without_metrics_none_are_served(app: Connection, start_worker: StartWorker) -> None:
    port = free_port()
    start_worker(WORKER_ENABLE_HEALTH_CHECK="true", PORT=str(port)).wait_for("worker.started")
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 404


def shut_out(database: Database) -> None:
    """Nobody gets into the database any more, and who is in it is thrown out."""
    name = conninfo_to_dict(database.direct_conninfo)["dbname"]
    assert isinstance(name, str)
    with psycopg.connect(database.direct_conninfo, dbname="postgres", autocommit=True) as outside:
        outside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
