"""What one process is told over HTTP, the whole fleet does."""

from __future__ import annotations

import socket
from typing import Any

import httpx

from tests.e2e.conftest import StartWorker
from tests.support.database import Connection
from tests.support.jobs import enqueue, grant
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until

BEATS_EACH_SECOND = {"LEASE_DURATION": "4s", "LISTEN_NOTIFY": "false"}


class Served:
    """A worker process, and the client of its API."""

    def __init__(self, start_worker: StartWorker, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        serving = {"PORT": self.url.rpartition(":")[2], "HEALTH_HOST": "127.0.0.1", "ENABLE_API": "true"}
        self.process: WorkerProcess = start_worker(**{**serving, "WORKER_ENABLE_HEALTH_CHECK": "true", **settings})
        self.process.wait_for("worker.started")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as client:
            answer = client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def health(self) -> dict[str, Any]:
        return self.ask("GET", "/health")


def count(app: Connection, status: str) -> int:
    row = app.execute("SELECT count(*) FROM generation_job WHERE status = %s", (status,)).fetchone()
    assert row is not None
    return row[0]


def claims(app: Connection) -> dict[str, int]:
    return dict(app.execute("SELECT worker, count(*) FROM job_attempt GROUP BY worker").fetchall())


def test_two_workers_follow_what_one_of_them_is_told(app: Connection, start_worker: StartWorker):
    grant(app, amount=1000)
    fleet = [
        Served(start_worker, WORKER_ID=name, WORKER_CONCURRENCY="1", LOCAL_DELAY="500ms", **BEATS_EACH_SECOND)
        for name in ("one", "two")
    ]
    one, two = fleet
    assert one.ask("POST", "/worker/stop", {"reason": "a fire"})["worker"] == "paused"
    waiting = [enqueue(app) for _ in range(12)]
    wait_until(lambda: [each.health()["worker"] for each in fleet] == ["paused"] * 2, "both know")
    assert count(app, "pending") == len(waiting)

    assert two.ask("PUT", "/worker/config", {"concurrency": 3})["fleet"]
    wait_until(lambda: [each.health()["concurrency"] for each in fleet] == [3, 3], "both follow")
    assert count(app, "pending") == len(waiting)

    last = waiting[-1]
    assert one.ask("POST", f"/worker/jobs/{last}/process")["queue_position"] == 0
    assert two.ask("POST", "/worker/start")["worker"] == "running"
    wait_until(lambda: count(app, "processing") == 6, "six run at once")
    wait_until(lambda: count(app, "completed") == len(waiting), "all are made")
    order = [row[0] for row in app.execute("SELECT id FROM generation_job ORDER BY started_at").fetchall()]
    assert order.index(last) < 6  # among the first that were claimed
    assert claims(app).keys() == {"one", "two"}

    one.ask("PUT", "/worker/config", {"concurrency": None})
    wait_until(lambda: [each.health()["concurrency"] for each in fleet] == [1, 1], "each is as it was started")


def test_a_worker_that_polls_once_an_hour_and_hears_nothing_is_woken_by_another(
    app: Connection, start_worker: StartWorker
):
    grant(app)
    Served(start_worker, WORKER_ID="slow", POLL_INTERVAL_MS="3600000", **BEATS_EACH_SECOND)
    asked = Served(start_worker, WORKER_ID="asked", LOCAL_PROVIDER="false", **BEATS_EACH_SECOND)
    enqueue(app)
    asked.ask("POST", "/worker/wake")
    wait_until(lambda: count(app, "completed") == 1, "it is made")
    assert claims(app) == {"slow": 1}
