"""Webhook endpoints and their deliveries over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from generation_worker.db import webhooks
from generation_worker.db.audit_trail import Author
from generation_worker.db.query import Queries
from generation_worker.domain.refusals import DeliveryNotFound, EndpointNotFound
from generation_worker.domain.webhook import DEFAULT_EVENTS, Judgement, Reply
from tests.support.database import Connection
from tests.support.jobs import put_row
from tests.support.webhooks import Box, endpoint, outbox, put_endpoint
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey

WEBHOOKS, DELIVERIES = "/worker/webhooks", "/worker/webhooks/deliveries"
URL = "https://app.example.com/hook"


def put_message(connection: Connection, endpoint_id: UUID | str) -> str:
    row = {"endpoint_id": endpoint_id, "event": "job.completed", "job_id": uuid4(), "body": "{}"}
    return str(put_row(connection, "webhook_delivery", **row)["id"])


def give_up(connection: Connection) -> None:
    box = Box(connection)
    for delivery in box.take():
        box.record_delivery(delivery, Reply(500), Judgement("dead", "it answered with status 500"))


def test_an_endpoint_from_its_beginning_to_its_end(client: httpx.Client, connection: Connection, key: MakeKey):
    admin = key("admin")
    made = good(client.post(WEBHOOKS, json={"url": URL, "reason": "a new app"}, headers=admin), 201)
    assert endpoint(connection, made["id"])["secret"] == made["secret"]
    one = f"{WEBHOOKS}/{made['id']}"
    shown = good(client.get(one, headers=admin))
    assert (shown["url"], shown["events"], shown["user_id"], shown["state"]) == (URL, list(DEFAULT_EVENTS), None, "ok")
    assert "whsec_" not in client.get(one, headers=admin).text + client.get(WEBHOOKS, headers=admin).text
    rotated = good(client.post(f"{one}/rotate", headers=admin))
    assert rotated["secret"] != made["secret"]
    assert good(client.get(one, headers=admin))["old_secret_until"] is not None
    disabled = good(client.post(f"{one}/disable", json={"reason": "it moves"}, headers=admin))
    assert (disabled["state"], disabled["reason"]) == ("disabled", "it moves")
    problem(client.post(f"{one}/test", headers=admin), 409, "endpoint_disabled")
    assert good(client.post(f"{one}/enable", headers=admin))["state"] == "ok"
    tested = good(client.post(f"{one}/test", headers=admin), 202)
    assert [(str(row["id"]), row["event"]) for row in outbox(connection)] == [(tested["delivery_id"], "endpoint.test")]
    assert client.delete(one, headers=admin).status_code == 204
    problem(client.get(one, headers=admin), 404, "endpoint_not_found")
    for route in ("rotate", "disable", "enable", "test"):
        problem(client.post(f"{one}/{route}", headers=admin), 404, "endpoint_not_found")
    problem(client.delete(one, headers=admin), 404, "endpoint_not_found")
    actor = f"key:{admin['Authorization'].removeprefix('Bearer gw_live_').partition('_')[0]}"
    events = connection.execute(
        "SELECT action, reason FROM audit_event WHERE actor = %s AND target = %s ORDER BY id",
        (actor, f"endpoint:{made['id']}"),
    ).fetchall()
    assert events == [
        ("webhook.add", "a new app"), ("webhook.rotate", None), ("webhook.disable", "it moves"),
        ("webhook.enable", None), ("webhook.test", None), ("webhook.remove", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://app.example.com/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://" + "a" * 2000}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.begun"]}, "events.0"),
        ({"url": URL, "events": ["breaker.opened"], "user_id": "ada"}, "events"),
        ({"url": URL, "user_id": ""}, "user_id"),
        ({"url": URL, "secret": "whsec_aaaa"}, "secret"),
    ],
)
def test_what_is_no_endpoint(client: httpx.Client, connection: Connection, body: dict[str, Any], field: str):
    assert problem(client.post(WEBHOOKS, json=body), 422, "invalid_request")["field"] == field
    assert connection.execute("SELECT count(*) FROM webhook_endpoint").fetchone() == (0,)


@pytest.mark.parametrize("keep", [-1, 1.5, "1h", 31 * 86_400])
def test_a_time_that_is_none(client: httpx.Client, connection: Connection, keep: Any):
    told = put_endpoint(connection)
    answer = client.post(f"{WEBHOOKS}/{told}/rotate", json={"keep_seconds": keep})
    assert problem(answer, 422, "invalid_request")["field"] == "keep_seconds"


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_endpoints_add_up(client: httpx.Client, connection: Connection, limit: int):
    made = sorted(str(put_endpoint(connection)) for _ in range(5))
    found: list[str] = []
    asked: dict[str, Any] = {"limit": limit}
    while True:
        page = good(client.get(WEBHOOKS, params=asked))
        found += [each["id"] for each in page["endpoints"]]
        if page["next_after"] is None:
            break
        asked["after"] = page["next_after"]
    assert found == made


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_deliveries_add_up(client: httpx.Client, connection: Connection, limit: int):
    told = put_endpoint(connection)
    made = [put_message(connection, told) for _ in range(5)]
    found: list[str] = []
    asked: dict[str, Any] = {"limit": limit}
    while True:
        page = good(client.get(DELIVERIES, params=asked))
        found += [each["id"] for each in page["deliveries"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert found == made[::-1]


def test_deliveries_are_chosen_and_replayed(client: httpx.Client, connection: Connection):
    one, other = put_endpoint(connection), put_endpoint(connection)
    dead = put_message(connection, one)
    give_up(connection)
    waiting = put_message(connection, other)

    def chosen(**filters: Any) -> list[str]:
        return [each["id"] for each in good(client.get(DELIVERIES, params=filters))["deliveries"]]

    [row] = [row for row in outbox(connection) if str(row["id"]) == dead]
    assert chosen() == [waiting, dead]
    assert chosen(endpoint_id=other) == chosen(status="pending") == [waiting]
    assert chosen(failed=True) == chosen(status="dead") == chosen(job_id=row["job_id"]) == [dead]
    assert chosen(status="delivered") == []
    [shown] = good(client.get(DELIVERIES, params={"failed": True}))["deliveries"]
    assert (shown["last_status"], shown["last_error"], shown["attempts"]) == (500, "it answered with status 500", 1)
    assert good(client.post(f"{DELIVERIES}/{dead}/replay"), 202) == {"id": dead, "status": "pending"}
    assert chosen(status="pending") == [waiting, dead]
    connection.execute("UPDATE webhook_endpoint SET disabled_at = now(), disabled_for = 'x'")
    problem(client.post(f"{DELIVERIES}/{dead}/replay"), 409, "endpoint_disabled")
    problem(client.post(f"{DELIVERIES}/{uuid4()}/replay"), 404, "delivery_not_found")
    problem(client.post(f"{DELIVERIES}/x/replay"), 422, "invalid_request")
    for wrong in ({"status": "lost"}, {"cursor": "x"}, {"limit": 0}, {"endpoint_id": "x"}):
        problem(client.get(DELIVERIES, params=wrong), 422, "invalid_request")


def test_a_users_key_sees_that_users_endpoints_only_and_changes_nothing(
    client: httpx.Client, connection: Connection, key: MakeKey
):
    adas, bobs, everyones = (put_endpoint(connection, **who) for who in ({"user_id": "ada"}, {"user_id": "bob"}, {}))
    messages = {told: put_message(connection, told) for told in (adas, bobs, everyones)}
    ada = key("read", "enqueue", user="ada")
    assert [each["id"] for each in good(client.get(WEBHOOKS, headers=ada))["endpoints"]] == [str(adas)]
    assert [each["id"] for each in good(client.get(DELIVERIES, headers=ada))["deliveries"]] == [messages[adas]]
    assert good(client.get(f"{WEBHOOKS}/{adas}", headers=ada))["user_id"] == "ada"
    for told in (bobs, everyones):
        problem(client.get(f"{WEBHOOKS}/{told}", headers=ada), 404, "endpoint_not_found")
        found = good(client.get(DELIVERIES, params={"endpoint_id": str(told)}, headers=ada))
        assert found["deliveries"] == []
    for headers in (ada, key("read", "enqueue", "operate")):
        problem(client.post(WEBHOOKS, json={"url": URL}, headers=headers), 403, "missing_scope")
        problem(client.delete(f"{WEBHOOKS}/{adas}", headers=headers), 403, "missing_scope")
        problem(client.post(f"{DELIVERIES}/{messages[adas]}/replay", headers=headers), 403, "missing_scope")


def test_who_acts_for_one_user_touches_that_users_endpoints_only(connection: Connection, queries: Queries):
    """No key of one user may change endpoints today; whoever lets them is safe."""
    adas, everyones = put_endpoint(connection, user_id="ada"), put_endpoint(connection)
    by = Author("key:x")
    for told in (everyones, put_endpoint(connection, user_id="bob")):
        message = UUID(put_message(connection, told))
        for change in (
            webhooks.rotate_secret, webhooks.disable_endpoint, webhooks.enable_endpoint, webhooks.remove_endpoint,
            webhooks.send_test,
        ):  # fmt: skip
            with pytest.raises(EndpointNotFound):
                change(queries, told, owner="ada", by=by)
        with pytest.raises(DeliveryNotFound):
            webhooks.replay_delivery(queries, message, owner="ada", by=by)
    give_up(connection)
    moment = endpoint(connection, everyones)["created_at"]
    assert webhooks.replay_since(queries, moment, owner="ada", by=by) == 0
    webhooks.disable_endpoint(queries, adas, owner="ada", by=by)
    assert endpoint(connection, adas)["disabled_at"] is not None
