"""The fleet over HTTP: how it does, what it has done, who works; and this process."""

from __future__ import annotations

import httpx
import pytest

from generation_worker.db.audit_trail import Author
from generation_worker.db.fleet import pause
from generation_worker.domain.fleet import EVERYTHING, Extent
from tests.support.database import Connection
from tests.support.populated import WORKER, Population
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import Api

ROUTES = ("/worker/status", "/worker/stats", "/worker/workers")


def test_the_figures_are_those_of_the_table(client: httpx.Client, connection: Connection, population: Population):
    stats = good(client.get("/worker/stats"))
    rows = connection.execute("SELECT status, count(*) FROM generation_job GROUP BY status").fetchall()
    assert {status: stats[f"jobs_{status}"] for status, _ in rows} == dict(rows)
    assert stats["jobs_total"] == sum(count for _, count in rows)
    assert (stats["active_workers"], stats["jobs_exact"]) == (1, True)
    assert stats["success_rate"] == pytest.approx(1 / 3)
    assert stats["average_job_time"] > 0
    assert (stats["hour"]["completed"], stats["hour"]["failed"], stats["day"]["cancelled"]) == (1, 2, 1)


def test_the_status_of_the_fleet(client: httpx.Client, connection: Connection, population: Population):
    status = good(client.get("/worker/status"))
    assert (status["status"], status["active_workers"], status["busy"], status["concurrency"]) == ("running", 1, 1, 5)
    assert [lane["provider"] for lane in status["waiting"]] == ["local"]
    assert status["stats"] == good(client.get("/worker/stats"))
    assert status["paused"] == []
    pause(connection, Extent("provider", "local"), by=Author("cli:ada", "out of order"))
    status = good(client.get("/worker/status"))
    [paused] = status["paused"]
    assert (paused["what"], paused["name"], paused["reason"]) == ("provider", "local", "out of order")
    assert paused["by"] == "cli:ada"
    assert status["status"] == "running"
    pause(connection, EVERYTHING, by=Author("cli:ada"))
    assert good(client.get("/worker/status"))["status"] == "paused"
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    assert good(client.get("/worker/status"))["status"] == "stopped"


def test_an_empty_fleet_has_its_figures_too(client: httpx.Client):
    stats = good(client.get("/worker/stats"))
    assert (stats["jobs_total"], stats["average_job_time"], stats["success_rate"]) == (0, None, None)
    assert good(client.get("/worker/workers")) == {"workers": []}


def test_the_workers(client: httpx.Client, population: Population):
    [worker] = good(client.get("/worker/workers"))["workers"]
    assert (worker["id"], worker["state"], worker["busy"], worker["providers"]) == (WORKER, "busy", 1, ["local"])


def test_all_of_it_is_for_keys_of_nobody_in_particular(client: httpx.Client, population: Population, key: MakeKey):
    for path in ROUTES:
        problem(client.get(path, headers=key("read", user="ada")), 403, "key_of_one_user")
        problem(client.get(path, headers=key("enqueue")), 403, "missing_scope")
        good(client.get(path, headers=key("read")))


def test_a_process_says_how_it_is(served_alone: Api, key: MakeKey):
    reader = key("read", user="ada")
    found = good(served_alone.client.get("/worker/health", headers=reader))
    assert found == {"worker_id": "worker-1", "status": "healthy", "jobs_processed": 0, "uptime": 12, "problems": []}
    for status in ("completed", "scheduled", "failed", "pending", "rate_limited", "cancelled"):
        served_alone.events.emit("attempt.settled", status=status)
    assert good(served_alone.client.get("/worker/health", headers=reader))["jobs_processed"] == 3
    served_alone.supervisor.problems.append("3 job threads are stuck")
    found = good(served_alone.client.get("/worker/health", headers=reader), 503)
    assert found["problems"] == ["3 job threads are stuck"]
    problem(served_alone.client.get("/worker/health"), 401, "key_required")
