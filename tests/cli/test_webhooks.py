from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from generation_worker.domain.webhook import DEFAULT_EVENTS, Judgement, Reply
from tests.cli.conftest import Command
from tests.support.database import Connection
from tests.support.jobs import put_row
from tests.support.webhooks import Box, endpoint, outbox, put_endpoint

URL = "https://app.example.com/hook"


def put_message(connection: Connection, endpoint_id: UUID | str) -> UUID:
    row = {"endpoint_id": endpoint_id, "event": "job.completed", "job_id": uuid4(), "body": "{}"}
    return put_row(connection, "webhook_delivery", **row)["id"]


def give_up(connection: Connection) -> None:
    box = Box(connection)
    for delivery in box.take():
        box.record_delivery(delivery, Reply(500), Judgement("dead", "it answered with status 500"))


def test_the_secret_is_shown_once(process: Command, connection: Connection):
    done = process("webhook", "add", URL)
    assert done.status == 0
    shown = dict(line.split(None, 1) for line in done.out.splitlines()[:-1])
    row = endpoint(connection, shown["id"])
    assert (row["url"], row["events"], row["user_id"]) == (URL, list(DEFAULT_EVENTS), None)
    assert row["secret"] == shown["secret"]
    assert len(base64.b64decode(shown["secret"].removeprefix("whsec_"))) == 32
    everything = (
        process("webhook", "list").out + process("webhook", "list", "--json").out + process("audit", "--json").out
    )
    assert URL in everything
    assert "whsec_" not in everything


def test_what_an_endpoint_is_told_of(cli: Command, connection: Connection):
    made = cli(
        "webhook", "add", URL, "--event", "job.failed", "--event", "batch.finished", "--user", "ada", "--json"
    ).json
    [listed] = cli("webhook", "list", "--json").json["endpoints"]
    assert listed["id"] == made["id"]
    assert (listed["events"], listed["user_id"], listed["state"]) == (["job.failed", "batch.finished"], "ada", "ok")
    assert (listed["waiting"], listed["dead"], listed["reason"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("http://app.example.com/",), "url: must begin with https://"),
        (("https://app.example.com:444/",), "url: must use port 443"),
        (("https://10.0.0.1/",), "url: must name a public host"),
        (("https://ada:secret@app.example.com/",), "url: must not hold a user name or a password"),
        ((URL, "--event", "job.begun"), "events: there is no job.begun"),
        ((URL, "--event", "breaker.opened", "--user", "ada"), "events: breaker.opened is not about one user"),
        ((URL, "--user", ""), "user_id: must have 1 to 255 characters"),
        ((f"{URL}?{'a' * 2000}",), "2000 are allowed"),
    ],
)
def test_what_is_no_endpoint(cli: Command, connection: Connection, wrong: tuple[str, ...], said: str):
    done = cli("webhook", "add", *wrong)
    assert done.status == 2
    assert said in done.err
    assert connection.execute("SELECT count(*) FROM webhook_endpoint").fetchone() == (0,)


def test_a_private_endpoint_where_that_is_allowed(
    cli: Command, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WEBHOOK_ALLOW_PRIVATE", "true")
    made = cli("webhook", "add", "http://web.railway.internal:3000/hook", "--json").json
    assert endpoint(connection, made["id"])["url"] == "http://web.railway.internal:3000/hook"


def test_a_new_secret_and_the_old_one_for_a_while(cli: Command, connection: Connection):
    made = cli("webhook", "add", URL, "--json").json
    rotated = cli("webhook", "rotate", made["id"], "--keep", "1h", "--json").json
    assert rotated["secret"] != made["secret"]
    put_message(connection, made["id"])
    [taken] = Box(connection).take()
    assert list(taken.secrets) == [rotated["secret"], made["secret"]]
    assert cli("webhook", "list", "--json").json["endpoints"][0]["old_secret_until"] is not None
    cli("webhook", "rotate", made["id"], "--keep", "0s")
    put_message(connection, made["id"])
    [taken] = Box(connection).take()
    assert len(taken.secrets) == 1
    assert cli("webhook", "rotate", made["id"], "--keep", "soon").status == 2


def test_disabled_it_is_told_nothing_until_it_is_enabled(cli: Command, connection: Connection):
    told = put_endpoint(connection, failing_since="2026-01-01Z", enabled_since="2026-01-01Z")
    put_message(connection, told)
    assert cli("webhook", "disable", told, "--reason", "it moves").status == 0
    assert cli("webhook", "disable", told).status == 0
    assert Box(connection).take() == []
    [listed] = cli("webhook", "list", "--json").json["endpoints"]
    assert (listed["state"], listed["reason"], listed["waiting"]) == ("disabled", "it moves", 1)
    assert "it moves" in cli("webhook", "list").out
    refused = cli("webhook", "test", told, "--json")
    assert (refused.status, refused.json["error"]["code"]) == (1, "endpoint_disabled")
    assert f"webhook enable {told}" in refused.json["error"]["hint"]
    assert cli("webhook", "enable", told).out == f"{told}  enabled\n"
    row = endpoint(connection, told)
    assert (row["disabled_at"], row["failing_since"]) == (None, None)
    assert (datetime.now(UTC) - row["enabled_since"]).total_seconds() < 600
    assert len(Box(connection).take()) == 1


def test_status_and_doctor_say_that_an_endpoint_is_in_trouble(cli: Command, connection: Connection):
    assert "Webhooks" not in cli("status").out
    well = put_endpoint(connection)
    assert "1 endpoints, none is failing" in cli("doctor", "--only", "fleet.webhooks").out
    disabled = put_endpoint(
        connection, disabled_at="2026-01-01Z", disabled_for="it is gone: it answered with status 410"
    )
    failing = put_endpoint(connection, failing_since=datetime.now(UTC) - timedelta(hours=1))
    put_message(connection, failing)
    box = Box(connection)
    box.fail(box.take()[0])
    shown = cli("status").out
    for said in (str(well), "it is gone: it answered with status 410", "status 500"):
        assert said in shown
    states = {row["id"]: row["state"] for row in cli("status", "--json").json["webhooks"]}
    assert states == {str(well): "ok", str(disabled): "disabled", str(failing): "failing"}
    said = cli("doctor", "--only", "fleet.webhooks").out
    assert f"endpoint {disabled} gets no messages any more: it is gone" in said
    assert f"generation-worker webhook enable {disabled}" in said
    assert re.search(f"endpoint {failing} has been failing since [0-9: -]+: status 500", said)


def test_a_removed_endpoint_is_gone_with_what_waited_for_it(cli: Command, connection: Connection):
    told = put_endpoint(connection)
    put_message(connection, told)
    assert cli("webhook", "remove", told).status == 0
    assert outbox(connection) == []
    assert "There is no endpoint" in cli("webhook", "list").out
    again = cli("webhook", "remove", told, "--json")
    assert (again.status, again.json["error"]["code"]) == (1, "endpoint_not_found")
    for command in ("rotate", "disable", "enable", "test"):
        assert cli("webhook", command, told, "--json").json["error"]["code"] == "endpoint_not_found"


def test_a_delivery_is_sent_once_more_with_the_same_id(cli: Command, connection: Connection):
    told = put_endpoint(connection)
    message = put_message(connection, told)
    give_up(connection)
    [listed] = cli("webhook", "deliveries", "--failed", "--json").json["deliveries"]
    assert (listed["id"], listed["status"], listed["last_status"]) == (str(message), "dead", 500)
    assert "it answered with status 500" in cli("webhook", "deliveries").out
    assert cli("webhook", "replay", message, "--json").json == {"replayed": 1}
    [again] = Box(connection).take()
    assert (again.id, again.attempts) == (str(message), 1)
    Box(connection).deliver(again)
    assert cli("webhook", "replay", message).status == 0  # delivered: the app may have lost it
    missing = cli("webhook", "replay", uuid4(), "--json")
    assert (missing.status, missing.json["error"]["code"]) == (1, "delivery_not_found")


def test_all_that_were_given_up_are_sent_once_more(cli: Command, connection: Connection):
    told, disabled = put_endpoint(connection), put_endpoint(connection)
    messages = {put_message(connection, told) for _ in range(3)}
    put_message(connection, disabled)
    give_up(connection)
    connection.execute("UPDATE webhook_endpoint SET disabled_at = now(), disabled_for = 'x' WHERE id = %s", (disabled,))
    assert cli("webhook", "replay", "--since", "+1h", "--json").json == {"replayed": 0}
    assert cli("webhook", "replay", "--since", "-1h", "--endpoint", disabled).status == 1
    assert cli("webhook", "replay", "--since", "-1h", "--json").json == {"replayed": 3}
    assert {row["id"] for row in outbox(connection) if row["status"] == "pending"} == messages
    assert cli("webhook", "replay").status == 2


def test_a_test_message_waits_for_a_worker(cli: Command, connection: Connection):
    told = put_endpoint(connection)
    nobody = cli("webhook", "test", told, "--wait", "300ms", "--json")
    assert (nobody.status, nobody.json["error"]["code"]) == (1, "not_sent")
    assert "Is a worker running?" in nobody.json["error"]["hint"]
    sent = cli("webhook", "test", told, "--wait", "0s", "--json")
    assert (sent.status, sent.json["event"], sent.json["status"]) == (0, "endpoint.test", "pending")


def test_deliveries_of_one_endpoint_or_job(cli: Command, connection: Connection):
    one, other = put_endpoint(connection), put_endpoint(connection)
    message = put_message(connection, one)
    put_message(connection, other)
    [row] = [row for row in outbox(connection) if row["id"] == message]
    for option, value in (("--endpoint", one), ("--job", row["job_id"])):
        [listed] = cli("webhook", "deliveries", option, value, "--json").json["deliveries"]
        assert listed["id"] == str(message)
    assert len(cli("webhook", "deliveries", "--limit", 1, "--json").json["deliveries"]) == 1


def test_what_is_done_to_endpoints_is_recorded(cli: Command, connection: Connection):
    made = cli("webhook", "add", URL, "--reason", "a new app", "--json").json
    message = put_message(connection, made["id"])
    give_up(connection)
    for command in ("rotate", "disable", "disable", "enable", "enable"):
        cli("webhook", command, made["id"])
    cli("webhook", "test", made["id"], "--wait", "0s")
    cli("webhook", "replay", message)
    give_up(connection)
    cli("webhook", "replay", "--since", "-1h")
    cli("webhook", "remove", made["id"])
    events = connection.execute("SELECT action, target, reason FROM audit_event ORDER BY id").fetchall()
    target = f"endpoint:{made['id']}"
    assert events == [
        ("webhook.add", target, "a new app"), ("webhook.rotate", target, None), ("webhook.disable", target, None),
        ("webhook.enable", target, None), ("webhook.test", target, None),
        ("delivery.replay", f"delivery:{message}", None),
        ("delivery.replay", "endpoints", None), ("webhook.remove", target, None),
    ]  # fmt: skip
    assert "whsec_" not in str(connection.execute("SELECT before, after FROM audit_event").fetchall())
