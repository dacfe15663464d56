"""The settings over HTTP: what holds and who said so, and changes of which all are made or none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support import jobs
from tests.support.database import Connection, Database
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import api

PATH = "/worker/config"


@pytest.fixture(autouse=True)
def fleet(connection: Connection) -> None:
    """`local` may be named, and there is a key of `gemini` with a limit."""
    jobs.offer_local(connection)
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, given_per_minute)"
        " VALUES ('gemini-1', 'gemini', 60, 60)"
    )


def setting(answer: Any, name: str) -> dict[str, Any]:
    [found] = [row for row in answer["settings"] if row["name"] == name]
    return found


def kept(answer: Any) -> dict[str, Any]:
    return {row["name"]: row["value"] for row in answer["fleet"]}


def events(connection: Connection) -> list[tuple[Any, ...]]:
    query = "SELECT action, target, reason, before, after FROM audit_event WHERE target LIKE 'setting:%' ORDER BY id"
    return connection.execute(query.encode()).fetchall()


def test_all_that_may_be_changed_at_once(client: httpx.Client, connection: Connection, key: MakeKey):
    admin = key("admin")
    change = {
        "concurrency": 8,
        "poll_interval": 0.5,
        "calls_per_minute": {"gemini": 30},
        "price": {"text_to_image": 3, "text_to_image.local": 2},
        "seconds_per_credit": 2.5,
        "credits_low": 50,
        "caller_may_set_cost": True,
        "default_provider": "local",
        "reason": "a quiet night",
    }
    answer = good(client.put(PATH, json=change, headers=admin))
    assert answer == good(client.get(PATH, headers=admin))
    expected = {
        "concurrency": 8, "poll_interval": 0.5, "calls_per_minute.gemini": 30, "price.text_to_image": 3,
        "price.text_to_image.local": 2, "seconds_per_credit": 2.5, "credits_low": 50, "caller_may_set_cost": True,
    }  # fmt: skip
    assert expected.items() <= kept(answer).items()
    shown = setting(answer, "WORKER_CONCURRENCY")
    assert (shown["value"], shown["source"], shown["default"]) == ("8", "database, concurrency", "5")
    assert shown["updated_by"].startswith("key:")
    assert shown["updated_at"] is not None
    assert setting(answer, "GEMINI_RPM")["value"] == "30"
    assert connection.execute("SELECT calls_per_minute FROM provider_gate").fetchone() == (30,)
    assert {event[:3] for event in events(connection)} == {
        ("setting.set", f"setting:{name}", "a quiet night") for name in (*expected, "default_provider")
    }


def test_null_takes_back_and_what_is_left_out_stays(client: httpx.Client, connection: Connection):
    good(client.put(PATH, json={"concurrency": 8, "calls_per_minute": {"gemini-1": 30}}))
    good(client.put(PATH, json={"poll_interval": 2}))
    answer = good(client.put(PATH, json={"concurrency": None, "calls_per_minute": {"gemini-1": None}}))
    assert not {"concurrency", "calls_per_minute.gemini-1"} & kept(answer).keys()
    assert kept(answer)["poll_interval"] == 2
    assert setting(answer, "WORKER_CONCURRENCY")["source"] == "default"
    assert events(connection)[-1][3:] == (8, None)
    assert connection.execute("SELECT calls_per_minute FROM provider_gate").fetchone() == (60,)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "8"}, "concurrency"),
        ({"concurrency": 1001}, "concurrency"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"poll_interval": "1s"}, "poll_interval"),
        ({"calls_per_minute": {"gemini": 30_001}}, "calls_per_minute.gemini"),
        ({"calls_per_minute": {"moon": 5}}, "calls_per_minute.moon"),
        ({"calls_per_minute": {"far-9": 5}}, "calls_per_minute.far-9"),
        ({"calls_per_minute": 5}, "calls_per_minute"),
        ({"price": {"video": 1}}, "price.video"),
        ({"price": {"text_to_image": -1}}, "price.text_to_image"),
        ({"price": {"text_to_image": None}}, "price.text_to_image"),
        ({"price": {"text_to_image.moon": 1}}, "price.text_to_image.moon"),
        ({"seconds_per_credit": 0}, "seconds_per_credit"),
        ({"seconds_per_credit": None}, "seconds_per_credit"),
        ({"credits_low": -1}, "credits_low"),
        ({"caller_may_set_cost": "yes"}, "caller_may_set_cost"),
        ({"default_provider": "moon"}, "default_provider"),
        ({"DATABASE_URL": "postgresql://"}, "DATABASE_URL"),
        ({"reason": ""}, "reason"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(
    client: httpx.Client, connection: Connection, change: dict[str, Any], field: str
):
    before = kept(good(client.get(PATH)))
    found = problem(client.put(PATH, json={"poll_interval": 2, **change}), 422, "invalid_request")
    assert found["field"] == field
    assert kept(good(client.get(PATH))) == before
    assert events(connection) == []


def test_only_a_key_for_it(client: httpx.Client, key: MakeKey):
    operator = key("operate")
    good(client.get(PATH, headers=operator))
    problem(client.put(PATH, json={"concurrency": 3}, headers=operator), 403, "missing_scope")
    reader = key("read", "enqueue")
    problem(client.get(PATH, headers=reader), 403, "missing_scope")
    problem(client.get(PATH), 401, "key_required")


def test_secrets_are_never_shown(database: Database, tmp_path: Any):
    with api(database, tmp_path, GEMINI_API_KEY="gemini-s3cret", REPLICATE_API_TOKEN="r8_s3cret") as running:
        answer = running.client.get(PATH)
        assert setting(good(answer), "GEMINI_API_KEY")["value"] == "set"
        assert "s3cret" not in answer.text
        url = database.environment["DATABASE_URL"]
        assert url not in answer.text
