"""The storage is away for hours: what was paid for is stored in the end, and was paid for once."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, grant, job
from tests.support.waiting import wait_until

OUTAGE = 10
"""Attempts that fail."""
QUICK = {
    "WORKER_JOB_TIMEOUT": "1s",
    "WORKER_MAX_RETRIES": "1",
    "RETRY_MAX_DELAY": "200ms",
    "LEASE_DURATION": "2s",
    "IDLE_POLL_INTERVAL": "100ms",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def attempts(app: Connection) -> int:
    row = app.execute("SELECT count(*) FROM job_attempt").fetchone()
    return row[0] if row else 0


def test_ten_attempts_without_a_storage_and_a_crash_cost_one_call(
    app: Connection, start_worker: StartWorker, storage: Path
):
    app.execute("SELECT offer_providers(ARRAY['gemini'])")
    grant(app)
    gemini = GeminiSimulator()
    with SimulatorServer([gemini]) as server:
        worker = start_worker(**server.environment(), **QUICK)
        worker.wait_for("worker.started")
        in_the_way = storage / "images"
        shutil.rmtree(in_the_way, ignore_errors=True)
        in_the_way.write_text("a file where a directory should be: not even root can write into it")
        soon = datetime.now(UTC) + timedelta(minutes=10)  # the later the deadline, the more patient are late attempts
        made = enqueue(app, provider="gemini", payload={"prompt": "a kite"}, deadline_at=soon)
        wait_until(lambda: attempts(app) >= OUTAGE // 2, "half of the attempts have failed")
        worker.kill()
        start_worker(**server.environment(), **QUICK)
        wait_until(lambda: attempts(app) >= OUTAGE, "all of them have failed")
        assert job(app, made)["error_code"] in ("storage_unavailable", "worker_lost", "attempt_timeout")
        in_the_way.unlink()
        wait_until(lambda: job(app, made)["status"] == "completed", "the image is stored")
        assert len(gemini.requests) == 1
    assert (storage / job(app, made)["result"]["images"][0]["key"]).is_file()
    assert app.execute("SELECT count(*) FROM provider_call").fetchone() == (1,)
    assert app.execute("SELECT FROM staged_image").fetchall() == []
    assert find_violations(queries_on(app), max_paid_calls=1) == []
