"""Credits over HTTP: who sees an account, and who gives."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey

ADA = "/worker/credits/ada"


def entries(client: httpx.Client, **filters: Any) -> list[dict[str, Any]]:
    """Those of all pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = good(client.get(f"{ADA}/entries", params=filters))
        found += page["entries"]
        if page["next_cursor"] is None:
            return found
        filters["cursor"] = page["next_cursor"]


def test_an_account(client: httpx.Client, connection: Connection, population: Population):
    shown = good(client.get(ADA))
    assert (shown["user_id"], shown["balance"]) == ("ada", jobs.balance(connection))
    assert shown["waiting"] == len(population.pending)
    problem(client.get("/worker/credits/nobody"), 404, "account_not_found")
    problem(client.get("/worker/credits/nobody/entries"), 404, "account_not_found")
    problem(client.get(f"/worker/credits/{'a' * 256}"), 422, "invalid_request")


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_entries_add_up(client: httpx.Client, connection: Connection, population: Population, limit: int):
    found = entries(client, limit=limit)
    moved = [(entry["kind"], entry["amount"], entry["balance_after"]) for entry in reversed(found)]
    assert moved == jobs.entries(connection)
    assert [entry["seq"] for entry in found] == list(range(len(found), 0, -1))
    refund = next(entry for entry in found if entry["kind"] == "refund")
    assert next(e for e in found if e["seq"] == refund["refund_of"])["kind"] == "debit"


@pytest.mark.parametrize("wrong", [{"cursor": "x"}, {"cursor": "LTU"}, {"cursor": "é"}, {"limit": 0}, {"limit": 101}])
def test_what_is_not_valid_is_named(client: httpx.Client, population: Population, wrong: dict[str, Any]):
    [name] = wrong
    found = problem(client.get(f"{ADA}/entries", params=wrong), 422, "invalid_request")
    assert found["field"] in (name, f"query.{name}")


def test_the_same_key_gives_once_and_the_audit_trail_names_the_giver(
    client: httpx.Client, connection: Connection, key: MakeKey
):
    operator = key("operate") | {"Idempotency-Key": "payment-7"}
    asked = {"amount": 25, "reason": "bought 25"}
    given = good(client.post(f"{ADA}/grant", json=asked, headers=operator))
    assert given == {"user_id": "ada", "entry": 1, "balance": 25, "duplicate": False}
    again = good(client.post(f"{ADA}/grant", json=asked, headers=operator))
    assert (again["balance"], again["duplicate"]) == (25, True)
    problem(client.post(f"{ADA}/grant", json={"amount": 26}, headers=operator), 409, "idempotency_conflict")
    admin = key("admin") | {"Idempotency-Key": "payment-8"}
    assert good(client.post(f"{ADA}/grant", json={"amount": 5}, headers=admin))["balance"] == 30
    granted = "SELECT actor, target, reason FROM audit_event WHERE action = 'credits.grant' ORDER BY id"
    events = connection.execute(granted).fetchall()
    token = operator["Authorization"].removeprefix("Bearer gw_live_").partition("_")[0]
    assert events[0] == (f"key:{token}", "user:ada", "bought 25")
    assert len(events) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": "5"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 10**10}, "amount"),
        ({"amount": 5, "reason": ""}, "reason"),
        ({"amount": 5, "reason": "a\0b"}, "reason"),
        ({"amount": 5, "kind": "debit"}, "kind"),
    ],
)
def test_a_grant_that_is_not_valid_gives_nothing(client: httpx.Client, connection: Connection, body: Any, field: str):
    answer = client.post(f"{ADA}/grant", json=body, headers={"Idempotency-Key": "payment-1"})
    assert problem(answer, 422, "invalid_request")["field"] == field
    assert jobs.balance(connection) == 0


def test_a_grant_needs_a_key_of_its_own(client: httpx.Client, connection: Connection):
    found = problem(client.post(f"{ADA}/grant", json={"amount": 5}), 422, "invalid_request")
    assert found["field"] == "header.Idempotency-Key"
    assert jobs.balance(connection) == 0


def test_a_user_sees_only_their_own_and_gives_nothing(client: httpx.Client, population: Population, key: MakeKey):
    ada, eve = key("read", user="ada"), key("read", "enqueue", user="eve")
    assert good(client.get(ADA, headers=ada))["user_id"] == "ada"
    assert good(client.get(f"{ADA}/entries", headers=ada))["entries"]
    for path in (ADA, f"{ADA}/entries", "/worker/credits/nobody"):
        problem(client.get(path, headers=eve), 404, "user_not_found")
    problem(client.get("/worker/credits/eve", headers=eve), 404, "account_not_found")
    for headers in (ada, eve, key("read", "enqueue")):
        given = client.post(f"{ADA}/grant", json={"amount": 5}, headers=headers | {"Idempotency-Key": "x"})
        problem(given, 403, "missing_scope")
