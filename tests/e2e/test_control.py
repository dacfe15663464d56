"""What is decided while workers run, they follow."""

from __future__ import annotations

import socket

import httpx
import pytest

from generation_worker.db.audit_trail import Author
from generation_worker.db.fleet import park_paused_jobs, pause, resume, set_setting
from generation_worker.domain.fleet import EVERYTHING, Extent
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import enqueue, grant
from tests.support.waiting import wait_until

ADA = Author("cli:ada", "a fire")


def count(app: Connection, status: str) -> int:
    row = app.execute("SELECT count(*) FROM generation_job WHERE status = %s", (status,)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("extent", [EVERYTHING, Extent("provider", "local"), Extent("user", "ada")], ids=str)
def test_until_empty_ends_while_it_is_paused(app: Connection, start_worker: StartWorker, extent: Extent):
    grant(app)
    for _ in range(3):
        enqueue(app)
    pause(queries_on(app), extent, by=ADA)
    assert start_worker("--until-empty").exit_status() == 0
    assert count(app, "pending") == 3
    resume(queries_on(app), extent, by=ADA)
    sum(park_paused_jobs(queries_on(app)))
    assert start_worker("--until-empty").exit_status() == 0
    assert count(app, "completed") == 3


@pytest.mark.parametrize("hints", [True, False], ids=["told by a hint", "told by the heartbeat"])
def test_a_running_worker_pauses_resumes_and_does_more_at_once(
    app: Connection, database: Database, start_worker: StartWorker, hints: bool
):
    if hints and database.pooled:
        hints = False
    grant(app, amount=1000)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "PORT": str(port),
        "HEALTH_HOST": "127.0.0.1",
        "WORKER_ENABLE_HEALTH_CHECK": "true",
        "WORKER_CONCURRENCY": "1",
        "LOCAL_DELAY": "1s",
        "LISTEN_NOTIFY": str(hints).lower(),
        "LEASE_DURATION": "1h" if hints else "4s",  # a beat each quarter of an hour, or each second
    }
    worker = start_worker(**settings)
    worker.wait_for("listen.live" if hints else "worker.started")

    def health() -> dict[str, object]:
        with httpx.Client(trust_env=False) as client:
            return client.get(f"http://127.0.0.1:{port}/health").json()

    pause(queries_on(app), EVERYTHING, by=ADA)
    waiting = [enqueue(app) for _ in range(8)]
    wait_until(lambda: health()["worker"] == "paused", "it knows")
    assert health()["status"] == "healthy"
    [told] = health()["paused"]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
    assert (told["what"], told["by"], told["reason"]) == ("everything", "cli:ada", "a fire")
    assert count(app, "pending") == len(waiting)

    set_setting(queries_on(app), "concurrency", 4, by=ADA)
    wait_until(lambda: health()["concurrency"] == 4, "it follows")
    resume(queries_on(app), EVERYTHING, by=ADA)
    wait_until(lambda: count(app, "processing") == 4, "four run at once")
    wait_until(lambda: count(app, "completed") == len(waiting), "all are made")
    wait_until(lambda: health()["worker"] == "running", "it knows that too")
    worker.terminate()
    assert worker.exit_status() == 0
