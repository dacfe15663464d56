"""Pausing, waking and run-next over HTTP, each status that they answer with, and what stands in the audit trail."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest

from generation_worker.db.signals import PostgresSignals
from tests.support import jobs
from tests.support.database import Connection, Database
from tests.support.populated import Population
from tests.support.protocol import Worker
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import Api


@pytest.fixture
def fleet(connection: Connection) -> None:
    """`local` may be named, and ada has 100 credits."""
    jobs.offer_local(connection)
    jobs.grant(connection)


def events(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT action, target, reason, actor FROM audit_event ORDER BY id").fetchall()


EXTENTS: list[tuple[dict[str, str], str, str | None, str]] = [
    ({}, "everything", None, "paused"),
    ({"provider": "local"}, "provider", "local", "running"),
    ({"kind": "text_to_image"}, "kind", "text_to_image", "running"),
    ({"user_id": "ada"}, "user", "ada", "running"),
]


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(("extent", "what", "name", "worker_is"), EXTENTS)
def test_a_stopped_fleet_claims_nothing_until_it_is_started(
    client: httpx.Client,
    connection: Connection,
    key: MakeKey,
    extent: dict[str, str],
    what: str,
    name: str | None,
    worker_is: str,
):
    operator = key("operate")
    waiting = jobs.enqueue(connection)
    worker = Worker(connection)
    stopped = good(client.post("/worker/stop", json=extent | {"reason": "a fire"}, headers=operator))
    assert (stopped["worker"], stopped["changed"]) == (worker_is, True)
    [told] = stopped["paused"]
    assert (told["what"], told["name"], told["reason"]) == (what, name, "a fire")
    assert told["by"].startswith("key:")
    assert worker.claim().jobs == []
    again = good(client.post("/worker/stop", json=extent | {"reason": "still"}, headers=operator))
    assert (again["changed"], again["paused"][0]["reason"]) == (False, "still")
    assert again["paused"][0]["since"] == told["since"]
    started = good(client.post("/worker/start", json=extent | {"reason": "out"}, headers=operator))
    assert (started["worker"], started["changed"], started["paused"]) == ("running", True, [])
    assert worker.claim_one().id == str(waiting)
    assert good(client.post("/worker/start", json=extent, headers=operator))["changed"] is False
    target = "setting:" + ".".join(["paused", *([what, name] if name else [])])
    assert [event[:3] for event in events(connection)[1:]] == [
        ("pause", target, "a fire"), ("pause", target, "still"), ("resume", target, "out"),
    ]  # fmt: skip


@pytest.mark.usefixtures("fleet")
def test_without_a_body_it_is_about_everything(client: httpx.Client):
    assert good(client.post("/worker/stop"))["worker"] == "paused"
    part = good(client.post("/worker/start", json={"user_id": "ada"}))
    assert (part["worker"], part["changed"]) == ("paused", False)
    assert good(client.post("/worker/start"))["worker"] == "running"


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("path", ["/worker/stop", "/worker/start"])
def test_what_is_wrong_with_an_extent(client: httpx.Client, connection: Connection, path: str):
    both = {"provider": "local", "user_id": "ada"}
    assert "one at a time" in problem(client.post(path, json=both), 422, "invalid_request")["detail"]
    kind = problem(client.post(path, json={"kind": "video"}), 422, "invalid_request")
    assert kind["field"] == "kind"
    assert problem(client.post(path, json={"user": "ada"}), 422, "invalid_request")["field"] == "user"
    assert problem(client.post(path, json={"reason": "x" * 2001}), 422, "invalid_request")["field"] == "reason"
    problem(client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_json")
    problem(client.post(path, content=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    assert events(connection) == []


@pytest.mark.usefixtures("fleet")
def test_a_provider_that_nobody_offers(client: httpx.Client):
    found = problem(client.post("/worker/stop", json={"provider": "moon"}), 422, "invalid_request")
    assert (found["field"], found["remedy"]) == ("provider", "Offered are local, none.")
    assert good(client.post("/worker/start", json={"provider": "moon"}))["changed"] is False


# wake


def test_woken_are_this_worker_and_all_that_listen(served: Api, connection: Connection, database: Database):
    with closing(PostgresSignals(database.direct_conninfo)) as another:
        another.open()
        assert good(served.client.post("/worker/wake"), 202) == {"status": "woken"}
        assert another.wait(30) == ["wake"]
    assert served.supervisor.woken == 1
    assert connection.execute("SELECT count(*) FROM fleet_setting WHERE name = 'woken'").fetchone() == (1,)


# run next


def test_the_last_job_becomes_the_first(client: httpx.Client, connection: Connection, population: Population):
    path = f"/worker/jobs/{population.bobs}"
    assert good(client.get(path))["queue_position"] == 3
    front = good(client.post(path + "/process", json={"reason": "a demo"}))
    assert (front["id"], front["status"], front["queue_position"]) == (str(population.bobs), "pending", 0)
    assert front["paused"] == []
    assert good(client.get(front["status_url"]))["queue_position"] == 0
    assert Worker(connection).claim_one().id == str(population.bobs)
    assert events(connection) == [("job.run_next", f"job:{population.bobs}", "a demo", "loopback")]
    problem(client.post(path + "/process"), 409, "job_not_waiting")


def test_waiting_for_its_time_ends_too(client: httpx.Client, connection: Connection, population: Population):
    for job in (population.scheduled, population.rate_limited):
        assert good(client.post(f"/worker/jobs/{job}/process"))["queue_position"] == 0
        assert Worker(connection).claim_one().id == str(job)


def test_a_pause_keeps_it_and_is_told(client: httpx.Client, connection: Connection, population: Population):
    good(client.post("/worker/stop", json={"user_id": "bob", "reason": "unpaid"}))
    front = good(client.post(f"/worker/jobs/{population.bobs}/process"))
    assert [(each["what"], each["name"], each["reason"]) for each in front["paused"]] == [("user", "bob", "unpaid")]
    assert str(population.bobs) not in {job.id for job in Worker(connection).claim().jobs}


def test_who_cannot_pay_gains_nothing_by_it(client: httpx.Client, connection: Connection):
    jobs.offer_local(connection)
    jobs.grant(connection, "ada", 100)
    jobs.grant(connection, "bob", 1)
    adas = jobs.enqueue(connection, "ada")
    bobs = jobs.enqueue(connection, "bob")
    connection.execute("SELECT adjust_credits('bob', -1)")
    assert good(client.post(f"/worker/jobs/{bobs}/process"))["queue_position"] == 0
    claim = Worker(connection).claim()
    assert ([job.id for job in claim.jobs], [each.id for each in claim.refused]) == ([str(adas)], [str(bobs)])
    assert jobs.balance(connection, "bob") == 0
    assert [entry[0] for entry in jobs.entries(connection, "bob")] == ["grant", "adjustment"]


@pytest.mark.parametrize("state", ["processing", "completed", "failed", "cancelled"])
def test_only_a_job_that_waits(client: httpx.Client, population: Population, state: str):
    found = problem(client.post(f"/worker/jobs/{getattr(population, state)}/process"), 409, "job_not_waiting")
    assert f"is {state}" in found["detail"]


def test_no_such_job(client: httpx.Client):
    problem(client.post(f"/worker/jobs/{uuid4()}/process"), 404, "job_not_found")
    found = problem(client.post("/worker/jobs/first/process"), 422, "invalid_request")
    assert found["field"] == "path.job_id"
