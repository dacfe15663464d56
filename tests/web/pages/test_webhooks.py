"""Webhooks as a person sees them: who is in trouble, a new endpoint, its secret once, what was sent to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.database import Connection
from tests.support.jobs import put_row
from tests.support.webhooks import SECRET, endpoint, put_endpoint
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn

WEBHOOKS = "/dashboard/webhooks"


def put_message(connection: Connection, endpoint_id: UUID, **columns: Any) -> UUID:
    row = {"endpoint_id": endpoint_id, "event": "job.completed", "job_id": uuid4(), "body": '{"n": "private"}'}
    return put_row(connection, "webhook_delivery", **(row | columns))["id"]


def audited(connection: Connection) -> Any:
    return connection.execute(
        "SELECT action, target, reason FROM audit_event WHERE action NOT LIKE 'dashboard%' ORDER BY id DESC"
    ).fetchone()


def secret_of(page: Page) -> str:
    return page.tree.one("main").one("pre").text


def test_those_in_trouble_come_first(sign_in: SignIn, connection: Connection):
    fine = [put_endpoint(connection, url=f"https://a.example.com/{n}") for n in range(60)]
    broken = put_endpoint(
        connection, url="https://z.example.com/?a=<b>", disabled_at="2026-01-01T00:00:00Z", disabled_for="it is <gone>"
    )
    browser = sign_in("read")
    page = browser.open(WEBHOOKS)
    first = page.rows("Endpoints")[0]
    assert (first["address"], first["state"], first["why"]) == (
        "https://z.example.com/?a=<b>",
        "disabled",
        "it is <gone>",
    )
    assert "<gone>" not in page.answer.text
    found: list[str] = []
    page = browser.open(page.links["All of them, page by page"])
    while True:
        found += [row["address"] for row in page.rows("Endpoints")]
        if "Next page" not in page.links:
            break
        page = browser.open(page.links["Next page"])
    assert len(found) == len(set(found)) == len([*fine, broken])
    assert not page.has_form("Add an endpoint")


def test_a_secret_is_shown_on_the_answer_and_never_again(sign_in: SignIn, connection: Connection):
    browser = sign_in("admin")
    form = browser.open(WEBHOOKS).form("Add an endpoint")
    made = browser.send(form, url="https://app.example.com/hook", user_id="ada", reason="the app")
    [(endpoint_id, secret, events, user)] = connection.execute(
        "SELECT id, secret, events, user_id FROM webhook_endpoint"
    ).fetchall()
    assert secret_of(made) == secret
    assert user == "ada"
    assert set(events) <= {"job.completed", "job.failed", "job.cancelled", "batch.finished"}
    assert made.answer.headers["cache-control"] == "no-store"
    assert secret not in str(made.answer.headers)
    assert "hx-get" not in made.answer.text
    assert audited(connection) == ("webhook.add", f"endpoint:{endpoint_id}", "the app")
    shown = browser.open(made.links["I have it: go on to the endpoint"])
    for page in (shown, browser.open(WEBHOOKS), browser.open("/dashboard")):
        assert secret not in page.answer.text
    new = browser.send(shown.form("New secret"), keep_hours="2")
    assert secret_of(new) == endpoint(connection, endpoint_id)["secret"] != secret
    assert new.answer.headers["cache-control"] == "no-store"
    assert "the old one signs as well for 2 h" in new.text
    assert secret_of(new) not in browser.open(f"{WEBHOOKS}/{endpoint_id}").answer.text


@pytest.mark.parametrize(
    ("url", "field"), [("http://app.example.com/", "url"), ("https://10.0.0.1/", "url"), ("x", "url")]
)
def test_an_address_that_nobody_can_be_told_at_is_refused(
    sign_in: SignIn, connection: Connection, url: str, field: str
):
    browser = sign_in("admin")
    page = browser.send(browser.open(WEBHOOKS).form("Add an endpoint"), url=url)
    assert (page.status, page.problem) == (422, "invalid_request")
    assert field in page.text
    assert connection.execute("SELECT count(*) FROM webhook_endpoint").fetchone() == (0,)


def test_an_endpoint_is_disabled_enabled_tested_and_removed(sign_in: SignIn, connection: Connection):
    told = put_endpoint(connection)
    address, target = f"{WEBHOOKS}/{told}", f"endpoint:{told}"
    browser = sign_in("admin")
    tested = browser.send(browser.open(address).form("Send a test"))
    assert tested.rows("Deliveries")[0]["event"] == "endpoint.test"
    assert audited(connection)[:2] == ("webhook.test", target)
    disabled = browser.send(tested.form("Disable"), reason="the app moves")
    assert "the app moves" in disabled.text
    assert audited(connection) == ("webhook.disable", target, "the app moves")
    assert not disabled.has_form("Send a test")
    enabled = browser.send(disabled.form("Enable"))
    assert endpoint(connection, told)["disabled_at"] is None
    removed = browser.send(enabled.form("Remove"))
    assert (removed.path, removed.heading) == (WEBHOOKS, "Webhooks")
    assert audited(connection)[:2] == ("webhook.remove", target)
    assert browser.open(address).status == 404


def test_deliveries_by_state_and_page_by_page(sign_in: SignIn, connection: Connection):
    told, other = put_endpoint(connection), put_endpoint(connection, url="https://b.example.com/")
    for n in range(60):
        put_message(connection, told, created_at=f"2026-01-01T00:{n:02}:00Z")
    dead = put_message(
        connection,
        told,
        status="dead",
        attempts=10,
        last_status=500,
        last_error="it said <no>",
        finished_at="2026-01-02",
    )
    tried = put_message(connection, told, attempts=2, last_error="nobody was there")
    put_message(connection, other, event="job.failed")
    browser = sign_in("read")
    page = browser.open(f"{WEBHOOKS}/{told}")
    [form] = [form for form in page.forms if "failed" in form.names]
    gave_up = browser.send(form, status="dead").rows("Deliveries")
    assert [row["message"] for row in gave_up] == [f"…{str(dead)[-8:]}"]
    assert (gave_up[0]["tries"], gave_up[0]["answer"], gave_up[0]["error"]) == ("10", "500", "it said <no>")
    failed = browser.send(form, failed="true").rows("Deliveries")
    assert {row["message"] for row in failed} == {f"…{str(each)[-8:]}" for each in (dead, tried)}
    found: list[str] = []
    while True:
        found += [row["message"] for row in page.rows("Deliveries")]
        if "Earlier deliveries" not in page.links:
            break
        page = browser.open(page.links["Earlier deliveries"])
    assert len(found) == len(set(found)) == 62
    assert "private" not in page.answer.text
    assert SECRET not in page.answer.text
    assert not page.has_form("Disable")


def test_a_message_is_sent_once_more(sign_in: SignIn, connection: Connection):
    told = put_endpoint(connection)
    message = put_message(connection, told, status="delivered", attempts=1, last_status=204, finished_at="2026-01-02")
    browser = sign_in("admin")
    page = browser.send(browser.open(f"{WEBHOOKS}/{told}").form("Replay"), reason="the app lost it")
    assert (page.heading, page.rows("Deliveries")[0]["state"]) == ("https://app.example.com/hook", "pending")
    assert audited(connection) == ("delivery.replay", f"delivery:{message}", "the app lost it")


def test_only_an_admin_changes_an_endpoint(sign_in: SignIn, connection: Connection):
    told = put_endpoint(connection)
    message = put_message(connection, told)
    admin, operator = sign_in("admin"), sign_in("operate", "read")
    proof = operator.open(WEBHOOKS).form("Sign out").fields["proof"]
    forms = [f for f in admin.open(f"{WEBHOOKS}/{told}").forms if f.action.startswith(WEBHOOKS) and f.method == "POST"]
    assert {form.action.rpartition("/")[2] for form in forms} == {"test", "disable", "rotate", "remove", "replay"}
    before = endpoint(connection, told)
    for form in [*forms, admin.open(WEBHOOKS).form("Add an endpoint")]:
        asked = form.fields | {"proof": proof, "url": "https://app.example.com/"}
        assert operator.post(form.action, asked).status_code == 403, form.action
    assert endpoint(connection, told) == before
    assert connection.execute("SELECT id FROM webhook_delivery").fetchall() == [(message,)]
