"""The same change to many jobs over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey

PATHS = ["/worker/jobs/cancel", "/worker/jobs/release", "/worker/jobs/retry"]


def state(connection: Connection, job: UUID) -> str:
    return jobs.job(connection, job)["status"]


def events(connection: Connection) -> list[tuple[Any, ...]]:
    query = "SELECT action, reason, starts_with(actor, 'key:') FROM audit_event WHERE action LIKE 'job.%' ORDER BY id"
    return connection.execute(query.encode()).fetchall()


def test_cancel_first_dry_then_each_on_record(
    client: httpx.Client, connection: Connection, population: Population, key: MakeKey
):
    operator, asked = key("operate"), {"filter": {"user_id": "ada"}, "reason": "closed their account"}
    dry = good(client.post("/worker/jobs/cancel", json=asked | {"dry_run": True}, headers=operator))
    by_status = {"pending": 3, "processing": 1, "rate_limited": 1, "scheduled": 1}
    assert dry == {"dry_run": True, "jobs": 6, "by_status": by_status, "refused": [], "next": None}
    assert state(connection, population.scheduled) == "scheduled"
    assert events(connection) == []
    done = good(client.post("/worker/jobs/cancel", json=asked, headers=operator))
    assert done == {"dry_run": False, "jobs": 6, "by_status": None, "refused": [], "next": None}
    assert state(connection, population.scheduled) == "cancelled"
    assert jobs.job(connection, population.processing)["cancel_requested_at"] is not None
    assert state(connection, population.bobs) == "pending"
    assert events(connection) == [("job.cancel", "closed their account", True)] * 6
    again = good(client.post("/worker/jobs/cancel", json=asked | {"dry_run": True}, headers=operator))
    assert again["jobs"] == 0


def test_release(client: httpx.Client, connection: Connection, population: Population):
    waiting = {"filter": {"provider": "local"}}
    assert good(client.post("/worker/jobs/release", json=waiting))["jobs"] == 2
    row = connection.execute(
        "SELECT count(*) FROM generation_job WHERE status IN ('scheduled', 'rate_limited') AND run_at <= now()"
    ).fetchone()
    assert row == (2,)
    held = {"filter": {"worker": WORKER}}
    assert good(client.post("/worker/jobs/release", json=held | {"dry_run": True}))["by_status"] == {"processing": 1}
    assert good(client.post("/worker/jobs/release", json=held))["jobs"] == 1
    assert good(client.post("/worker/jobs/release", json=held))["jobs"] == 0


def test_retry_what_failed_once(client: httpx.Client, connection: Connection, population: Population):
    asked = {"filter": {"error_code": "no_image"}}
    assert good(client.post("/worker/jobs/retry", json=asked))["jobs"] == 1
    assert good(client.post("/worker/jobs/retry", json=asked))["jobs"] == 0
    row = connection.execute("SELECT count(*) FROM generation_job WHERE retry_of = %s", [population.failed]).fetchone()
    assert row == (1,)
    cancelled = {"filter": {"status": "cancelled", "user_id": "ada"}}
    assert good(client.post("/worker/jobs/retry", json=cancelled))["jobs"] == 1


def test_one_that_is_refused_is_told_and_keeps_no_other(
    client: httpx.Client, connection: Connection, population: Population
):
    connection.execute("SELECT adjust_credits('ada', -balance) FROM credit_account WHERE user_id = 'ada'")
    done = good(client.post("/worker/jobs/retry", json={"filter": {"error_code": "no_image"}}))
    assert (done["jobs"], done["next"]) == (0, None)
    [refused] = done["refused"]
    assert (refused["id"], refused["code"]) == (str(population.failed), "insufficient_credits")


def test_a_few_seconds_worth_at_a_time(
    client: httpx.Client, connection: Connection, population: Population, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("generation_worker.db.bulk.REQUEST_SECONDS", 0)
    asked: dict[str, Any] = {"filter": {"status": "pending"}}
    rounds = 0
    while asked.get("after") or not rounds:
        rounds += 1
        done = good(client.post("/worker/jobs/cancel", json=asked))
        assert done["jobs"] == (1 if done["next"] else 0)
        asked["after"] = done["next"]
    assert rounds == 5
    assert connection.execute("SELECT count(*) FROM generation_job WHERE status = 'pending'").fetchone() == (0,)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_wrong_is_named(client: httpx.Client, connection: Connection, population: Population, path: str):
    def named(body: Any) -> str:
        return problem(client.post(path, json=body), 422, "invalid_request")["field"]

    assert named({"filter": {}}) == "filter"
    assert named({"filter": {}, "dry_run": True}) == "filter"
    assert named({}) == "filter"
    assert named({"filter": {"user": "ada"}}) == "filter.user"
    assert named({"filter": {"user_id": "ada"}, "dry_run": "yes"}) == "dry_run"
    assert named({"filter": {"older_than": -1}}) == "filter.older_than"
    assert named({"filter": {"status": "completed"}}) == "filter.status"
    assert named({"filter": {"user_id": "ada"}, "after": "first"}) == "after"
    assert events(connection) == []
