"""Jobs over HTTP: what a web app does with them, and each way in which it is refused."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from generation_worker.db.audit_trail import Author
from generation_worker.db.fleet import pause, resume
from generation_worker.domain.fleet import EVERYTHING, Extent
from generation_worker.web.api import jobs as job_routes
from generation_worker.web.api.jobs import EnqueueTextToImage
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.populated import Population
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import api

ASKED: dict[str, Any] = {"kind": "text_to_image", "user_id": "ada", "payload": {"prompt": "a red kite"}}


@pytest.fixture
def fleet(connection: Connection) -> None:
    """`local` may be named, and ada has 100 credits."""
    jobs.offer_local(connection)
    jobs.grant(connection)


@pytest.mark.usefixtures("fleet")
def test_a_job_is_enqueued_and_says_where_to_go_on(client: httpx.Client, connection: Connection):
    answer = client.post("/worker/jobs", json=ASKED)
    accepted = good(answer, 202)
    assert (accepted["status"], accepted["queue_position"], accepted["duplicate"]) == ("pending", 0, False)
    assert accepted["batch_id"] is accepted["batch_url"] is accepted["eta_seconds"] is None
    assert answer.headers["location"] == accepted["status_url"] == accepted["cancel_url"]
    assert int(answer.headers["retry-after"]) >= 1
    shown = good(client.get(accepted["status_url"]))
    assert (shown["id"], shown["payload"], shown["user_id"]) == (accepted["id"], ASKED["payload"], "ada")
    row = jobs.job(connection, accepted["id"])
    assert (row["kind"], row["priority"], row["cost"]) == ("text_to_image", 0, 1)
    assert accepted["events_url"] == accepted["status_url"] + "/events"
    assert good(client.delete(accepted["cancel_url"]))["status"] == "cancelled"


@pytest.mark.usefixtures("fleet")
def test_the_same_key_is_the_same_job(client: httpx.Client):
    key = {"Idempotency-Key": "order-1"}
    first = good(client.post("/worker/jobs", json=ASKED, headers=key), 202)
    again = good(client.post("/worker/jobs", json=ASKED, headers=key), 202)
    assert (again["id"], first["duplicate"], again["duplicate"]) == (first["id"], False, True)
    other = ASKED | {"payload": {"prompt": "a blue kite"}}
    assert problem(client.post("/worker/jobs", json=other, headers=key), 409, "idempotency_conflict")["remedy"]


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (jobs.TRACEPARENT, jobs.TRACEPARENT),
        (f"01{jobs.TRACEPARENT[2:]}-x", jobs.TRACEPARENT),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_job_belongs_to_the_trace_of_its_request(
    client: httpx.Client, connection: Connection, sent: str, kept: str | None
):
    accepted = good(client.post("/worker/jobs", json=ASKED, headers={"Traceparent": sent}), 202)
    assert jobs.job(connection, accepted["id"])["traceparent"] == kept
    assert "traceparent" not in accepted | good(client.get(accepted["status_url"]))


@pytest.mark.usefixtures("fleet")
def test_over_http_and_in_sql_it_is_the_same_request(client: httpx.Client, connection: Connection):
    made = jobs.enqueue(connection, "ada", payload=ASKED["payload"], idempotency_key="order-1")
    again = good(client.post("/worker/jobs", json=ASKED, headers={"Idempotency-Key": "order-1"}), 202)
    assert (again["id"], again["duplicate"]) == (str(made), True)


@pytest.mark.usefixtures("fleet")
def test_several_images_are_a_batch(client: httpx.Client):
    accepted = good(client.post("/worker/jobs", json=ASKED | {"count": 4}), 202)
    assert len({job["id"] for job in accepted["jobs"]}) == 4
    assert accepted["id"] == accepted["jobs"][0]["id"]
    batch = good(client.get(accepted["batch_url"]))
    assert [job["id"] for job in batch["jobs"]] == [job["id"] for job in accepted["jobs"]]
    assert (batch["id"], batch["total"], batch["done"]) == (accepted["batch_id"], 4, False)
    for job in accepted["jobs"]:
        client.delete(job["cancel_url"])
    batch = good(client.get(accepted["batch_url"]))
    assert (batch["counts"], batch["done"]) == ({"cancelled": 4}, True)
    problem(client.get(f"/worker/batches/{uuid4()}"), 404, "batch_not_found")


@pytest.mark.usefixtures("fleet")
def test_a_job_may_wait_for_its_time(client: httpx.Client):
    times = {"run_at": "2030-01-31T12:00:00Z", "deadline_at": "2030-01-31T13:00:00+00:00"}
    accepted = good(client.post("/worker/jobs", json=ASKED | times), 202)
    shown = good(client.get(accepted["status_url"]))
    assert (shown["status"], shown["queue_position"], shown["eta_seconds"]) == ("scheduled", None, None)
    assert (shown["run_at"], shown["deadline_at"]) == ("2030-01-31T12:00:00Z", "2030-01-31T13:00:00Z")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cost": 0}, "cost"),
        ({"max_attempts": 100}, "max_attempts"),
        ({"status": "completed"}, "status"),
        ({"batch_id": str(uuid4())}, "batch_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a\0b"}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"count": 0}, "count"),
        ({"count": 101}, "count"),
        ({"count": "4"}, "count"),
        ({"count": True}, "count"),
        ({"priority": 1.5}, "priority"),
        ({"run_at": "tomorrow"}, "run_at"),
        ({"run_at": "2030-01-31T12:00:00"}, "run_at"),
        ({"run_at": 5}, "run_at"),
        ({"run_at": "2030-01-02T00:00:00Z", "deadline_at": "2030-01-01T00:00:00Z"}, "deadline_at"),
        ({"provider": "nobody"}, "provider"),
        ({"fallback_provider": "local"}, "fallback_provider"),
        ({"kind": "painting"}, "body"),
        ({"payload": {}}, "payload.prompt"),
        ({"payload": {"prompt": "a {{b}}"}}, "payload"),
        ({"payload": {"prompt": "a", "seed": 1}}, "payload.seed"),
        ({"payload": {"prompt": "a\0b"}}, None),
        ({"payload": {"prompt": "a", "images": [{"key": "../a"}]}}, "payload.images.0.key"),
        ({"payload": {"prompt": "a", "images": [{"url": "http://127.0.0.1/a"}]}}, "payload.images.0.url"),
    ],
)
def test_what_is_not_valid_is_named(client: httpx.Client, connection: Connection, change: Any, field: str | None):
    found = problem(client.post("/worker/jobs", json=ASKED | change), 422, "invalid_request")
    assert found.get("field") == field
    assert connection.execute("SELECT count(*) FROM generation_job").fetchone() == (0,)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers() | st.text(max_size=5), min_size=1, max_size=3))
def test_nothing_unknown_is_taken(client: httpx.Client, extra: dict[str, Any]):
    if not set(extra) & EnqueueTextToImage.model_fields.keys():
        problem(client.post("/worker/jobs", json=ASKED | extra), 422, "invalid_request")


def test_who_cannot_pay_is_told_so(client: httpx.Client, connection: Connection):
    jobs.offer_local(connection)
    found = problem(client.post("/worker/jobs", json=ASKED), 402, "insufficient_credits")
    assert found["field"] == "credits"


@pytest.mark.usefixtures("fleet")
def test_only_operators_go_before_everybody(client: httpx.Client, key: MakeKey):
    urgent = ASKED | {"priority": -1}
    found = problem(client.post("/worker/jobs", json=urgent, headers=key("enqueue")), 403, "missing_scope")
    assert found["field"] == "priority"
    good(client.post("/worker/jobs", json=ASKED | {"priority": 5}, headers=key("enqueue")), 202)
    good(client.post("/worker/jobs", json=urgent, headers=key("enqueue", "operate")), 202)


@pytest.mark.usefixtures("fleet")
def test_a_users_key_needs_no_user(client: httpx.Client, key: MakeKey):
    ada = key("enqueue", "read", user="ada")
    unnamed = {name: value for name, value in ASKED.items() if name != "user_id"}
    made = good(client.post("/worker/jobs", json=unnamed, headers=ada), 202)
    assert good(client.get(made["status_url"], headers=ada))["user_id"] == "ada"
    problem(client.post("/worker/jobs", json=unnamed, headers=key("enqueue")), 422, "invalid_request")
    problem(client.post("/worker/jobs", json=ASKED | {"user_id": "bob"}, headers=ada), 404, "user_not_found")


@pytest.mark.usefixtures("fleet")
def test_waiting_jobs_are_limited_and_none_slips_by(client: httpx.Client, connection: Connection, key: MakeKey):
    few = key("enqueue", most_waiting=3)
    start = threading.Barrier(6)

    def ask(_: int) -> int:
        start.wait()
        return client.post("/worker/jobs", json=ASKED, headers=few).status_code

    with ThreadPoolExecutor(6) as pool:
        assert Counter(pool.map(ask, range(6))) == {202: 3, 429: 3}
    answer = client.post("/worker/jobs", json=ASKED, headers=few)
    problem(answer, 429, "too_many_waiting")
    assert int(answer.headers["retry-after"]) > 0
    assert connection.execute("SELECT count(*) FROM generation_job").fetchone() == (3,)
    jobs.grant(connection, "bob")
    good(client.post("/worker/jobs", json=ASKED | {"user_id": "bob"}, headers=few), 202)


@pytest.mark.usefixtures("fleet")
def test_a_job_that_is_there_already_is_no_further_one(client: httpx.Client, key: MakeKey):
    few = key("enqueue", most_waiting=1) | {"Idempotency-Key": "order-1"}
    first = good(client.post("/worker/jobs", json=ASKED, headers=few), 202)
    assert good(client.post("/worker/jobs", json=ASKED, headers=few), 202)["id"] == first["id"]


def test_all_about_a_job(client: httpx.Client, population: Population):
    shown = good(client.get(f"/worker/jobs/{population.completed}"))
    [image] = shown["result"]["images"]
    assert image["url"] == f"https://images.test/{image['key']}?seconds=900"
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["completed"]
    assert [entry["kind"] for entry in shown["entries"]] == ["debit"]
    failed = good(client.get(f"/worker/jobs/{population.failed}"))
    assert failed["error"] == {"code": "no_image", "message": "the provider sent no image"}
    assert [entry["amount"] for entry in failed["entries"]] == [-1, 1]
    assert good(client.get(f"/worker/jobs/{population.processing}"))["status"] == "processing"
    problem(client.get(f"/worker/jobs/{uuid4()}"), 404, "job_not_found")
    assert "worker-1" not in str(shown)


def test_the_place_in_line_and_an_estimate(client: httpx.Client, population: Population):
    positions = [good(client.get(f"/worker/jobs/{job}")) for job in (*population.pending, population.bobs)]
    assert [shown["queue_position"] for shown in positions] == [0, 1, 2, 3]
    assert all(shown["eta_seconds"] is not None for shown in positions)


def test_far_back_there_is_no_estimate(client: httpx.Client, population: Population, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_routes, "FAR", 2)
    shown = good(client.get(f"/worker/jobs/{population.bobs}"))
    assert (shown["queue_position"], shown["eta_seconds"]) == (2, None)


def test_cancel(client: httpx.Client, connection: Connection, population: Population, key: MakeKey):
    operator = key("enqueue")
    for waiting in (population.pending[0], population.scheduled, population.rate_limited):
        assert good(client.delete(f"/worker/jobs/{waiting}", headers=operator))["status"] == "cancelled"
        assert good(client.delete(f"/worker/jobs/{waiting}", headers=operator))["status"] == "cancelled"
    running = client.delete(f"/worker/jobs/{population.processing}", headers=operator)
    assert good(running, 202)["status"] == "processing"
    problem(client.delete(f"/worker/jobs/{population.completed}", headers=operator), 409, "job_is_final")
    problem(client.delete(f"/worker/jobs/{uuid4()}", headers=operator), 404, "job_not_found")
    actors = {row[0] for row in connection.execute("SELECT actor FROM audit_event WHERE action = 'job.cancel'")}
    [actor] = actors
    assert actor.startswith("key:")


def test_retry(client: httpx.Client, connection: Connection, population: Population):
    new = good(client.post(f"/worker/jobs/{population.failed}/retry"), 202)
    assert jobs.job(connection, new["id"])["retry_of"] == population.failed
    again = good(client.post(f"/worker/jobs/{population.failed}/retry"), 202)
    assert (again["id"], again["duplicate"]) == (new["id"], True)
    assert good(client.get(f"/worker/jobs/{population.failed}"))["replayed_as"] == new["id"]
    problem(client.post(f"/worker/jobs/{population.completed}/retry"), 409, "job_not_replayable")
    problem(client.post(f"/worker/jobs/{uuid4()}/retry"), 404, "job_not_found")
    connection.execute("SELECT adjust_credits('ada', -balance) FROM credit_account WHERE user_id = 'ada'")
    problem(client.post(f"/worker/jobs/{population.blocked}/retry"), 402, "insufficient_credits")


def test_the_scheme_that_a_proxy_reports_is_in_the_links(client: httpx.Client, population: Population, key: MakeKey):
    headers = key("read") | {"Host": "images.example", "X-Forwarded-Proto": "https"}
    shown = good(client.get(f"/worker/jobs/{population.completed}", headers=headers))
    assert shown["status_url"] == f"https://images.example/worker/jobs/{population.completed}"


def test_what_is_paused_has_no_estimate(client: httpx.Client, connection: Connection, population: Population):
    [first, *_] = population.pending
    queries = queries_on(connection)
    assert good(client.get(f"/worker/jobs/{first}"))["paused"] is False
    for extent in (EVERYTHING, Extent("provider", "local"), Extent("kind", "text_to_image"), Extent("user", "ada")):
        pause(queries, extent, by=Author("test"))
        shown = good(client.get(f"/worker/jobs/{first}"))
        assert (shown["paused"], shown["eta_seconds"]) == (True, None)
        made = good(client.post("/worker/jobs", json=ASKED), 202)
        assert (made["paused"], made["eta_seconds"]) == (True, None)
        assert good(client.get(f"/worker/jobs/{population.scheduled}"))["paused"]
        assert good(client.get(f"/worker/jobs/{population.processing}"))["paused"] is False
        resume(queries, extent, by=Author("test"))
    pause(queries, Extent("user", "bob"), by=Author("test"))
    shown = good(client.get(f"/worker/jobs/{first}"))
    assert (shown["paused"], shown["eta_seconds"] is None) == (False, False)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("allowed", [False, True])
def test_private_inputs_are_for_development(database: Database, tmp_path: Path, allowed: bool):
    asked = ASKED | {"payload": {"prompt": "a", "images": [{"url": "http://127.0.0.1:9/a.png"}]}}
    with api(database, tmp_path, FETCH_ALLOW_PRIVATE=str(allowed).lower()) as running:
        answer = running.client.post("/worker/jobs", json=asked)
    if allowed:
        made = good(answer, 202)
        assert made["status"] == "pending"
    else:
        assert problem(answer, 422, "invalid_request")["field"] == "payload.images.0.url"
