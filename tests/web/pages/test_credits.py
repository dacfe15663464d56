"""Accounts as a person sees them: found, looked at, given credits, corrected, paused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.pages.conftest import SignIn
from tests.web.test_segments import USERS as STRANGE

UNREACHABLE = {".", ".."}
"""Browsers take them for a way up, encoded or not; so their accounts are for the API and the command line."""


def audited(connection: Connection) -> tuple[Any, ...]:
    """The latest change, but for who signs in and out."""
    row = connection.execute(
        "SELECT actor, action, target, reason FROM audit_event WHERE action NOT LIKE 'dashboard%' ORDER BY id DESC"
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.usefixtures("population")
def test_accounts_are_listed_and_low_ones_are_marked(sign_in: SignIn, connection: Connection):
    jobs.grant(connection, "carol", 9)
    page = sign_in("read").open("/dashboard/users")
    assert [row["user"] for row in page.rows("Accounts")] == ["ada", "bob", "carol"]
    assert [row["balance"] for row in page.rows("Accounts")] == ["96", "10", "low 9"]


def test_accounts_page_by_page(sign_in: SignIn, connection: Connection):
    for n in range(120):
        jobs.grant(connection, f"user-{n:03}", 1)
    page, found = sign_in("read").open("/dashboard/users"), list[str]()
    browser = sign_in("read")
    while True:
        found += [row["user"] for row in page.rows("Accounts")]
        if "Next page" not in page.links:
            break
        page = browser.open(page.links["Next page"])
    assert found == [f"user-{n:03}" for n in range(120)]
    assert browser.open(page.links["First page"]).rows("Accounts")[0]["user"] == "user-000"


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [("a", ["a", "a b", "a%b", "a-b", "a_b", "ab"]), ("a_", ["a_b"]), ("a%", ["a%b"]), ("ä", ["äb"]), ("z", [])],
)
def test_an_account_is_found_by_how_its_user_begins(
    sign_in: SignIn, connection: Connection, beginning: str, expected: list[str]
):
    for user in ("A", "a", "a b", "a-b", "a_b", "a%b", "ab", "b", "äb"):
        jobs.grant(connection, user, 20)
    page = sign_in("read").open("/dashboard/users")
    [form] = [form for form in page.forms if "beginning" in form.names]
    shown = sign_in("read").send(form, beginning=beginning)
    names = [row["user"] for row in shown.rows("Ids that begin with")] if expected else []
    assert names == expected
    assert ("has no account" in shown.text) == (beginning not in expected)


def test_a_user_with_all_that_moved(sign_in: SignIn, connection: Connection, population: Population):
    page = sign_in("read").open("/dashboard/users/ada")
    assert page.heading == "ada"
    assert "96 credits" in page.text
    assert "3 waiting jobs will cost" in page.text
    entries = page.rows("Entries")
    assert [row["kind"].split()[0] for row in reversed(entries)] == [e[0] for e in jobs.entries(connection)]
    assert [row["balance after"] for row in reversed(entries)] == [str(e[2]) for e in jobs.entries(connection)]
    assert f"/dashboard/jobs/{population.failed}" in page.links.values()
    counts = {row["state"]: row["jobs"] for row in page.rows("Jobs")}
    assert counts == {
        "pending": "3", "scheduled": "1", "rate_limited": "1", "processing": "1", "completed": "1", "failed": "2",
        "cancelled": "1",
    }  # fmt: skip
    assert page.rows("Latest jobs")[0]["state"] == "pending"
    for name in ("Grant credits", "Correct the balance", "Pause"):
        assert not page.has_form(name)


def test_entries_page_by_page(sign_in: SignIn, connection: Connection):
    for n in range(60):
        jobs.grant(connection, "ada", 1, f"payment-{n}")
    browser = sign_in("read")
    page, found = browser.open("/dashboard/users/ada"), list[str]()
    while True:
        found += [row["no."] for row in page.rows("Entries")]
        if "Earlier entries" not in page.links:
            break
        page = browser.open(page.links["Earlier entries"])
    assert found == [str(n) for n in range(60, 0, -1)]
    assert browser.open(page.links["Latest entries"]).rows("Entries")[0]["no."] == "60"


def test_credits_are_granted_once_however_often_the_button_is_pressed(sign_in: SignIn, connection: Connection):
    jobs.grant(connection, "ada", 5)
    browser = sign_in("operate", "read")
    form = browser.open("/dashboard/users/ada").form("Grant credits")
    done = browser.send(form, amount="20", reason="for the outage")
    assert done.said == "20 credits were granted. The balance is 25."
    assert done.rows("Entries")[0]["amount"] == "+20"
    actor, *rest = audited(connection)
    assert actor.startswith("dashboard:")
    assert rest == ["credits.grant", "user:ada", "for the outage"]
    again = browser.send(form, amount="20", reason="for the outage")
    assert "nothing was moved" in (again.said or "")
    assert jobs.balance(connection) == 25
    assert browser.send(again.form("Grant credits"), amount="1").said == "1 credits were granted. The balance is 26."


def test_the_first_grant_makes_an_account(sign_in: SignIn, connection: Connection):
    browser = sign_in("operate", "read")
    page = browser.open("/dashboard/users/newcomer")
    assert "has no account" in page.text
    assert not page.has_form("Correct the balance")
    browser.send(page.form("Grant credits"), amount="7")
    assert jobs.balance(connection, "newcomer") == 7


@pytest.mark.parametrize(
    ("amount", "status"), [("0", 422), ("-1", 422), ("1.5", 422), ("", 422), ("x", 422), ("1000000001", 422)]
)
def test_what_cannot_be_granted_is_said_with_nothing_changed(
    sign_in: SignIn, connection: Connection, amount: str, status: int
):
    jobs.grant(connection, "ada", 5)
    browser = sign_in("operate", "read")
    page = browser.send(browser.open("/dashboard/users/ada").form("Grant credits"), amount=amount)
    assert (page.status, page.problem) == (status, "invalid_request")
    assert "amount" in page.text
    assert jobs.balance(connection) == 5


def test_a_balance_is_corrected_but_never_below_zero(sign_in: SignIn, connection: Connection):
    jobs.grant(connection, "ada", 5)
    browser = sign_in("admin")
    form = browser.open("/dashboard/users/ada").form("Correct the balance")
    refused = browser.send(form, amount="-6")
    assert (refused.status, refused.problem) == (402, "insufficient_credits")
    done = browser.send(form, amount="-2", reason="granted twice")
    assert done.said == "The balance was corrected by -2. The balance is 3."
    assert audited(connection)[1:] == ("credits.adjust", "user:ada", "granted twice")


def test_only_an_admin_takes_credits(sign_in: SignIn, connection: Connection):
    jobs.grant(connection, "ada", 5)
    admin, operator, reader = sign_in("admin"), sign_in("operate", "read"), sign_in("read")
    grant, correct = (admin.open("/dashboard/users/ada").form(n) for n in ("Grant credits", "Correct the balance"))
    page = operator.open("/dashboard/users/ada")
    assert not page.has_form("Correct the balance")
    proof = page.form("Grant credits").fields["proof"]
    assert operator.post(correct.action, correct.fields | {"amount": "-5", "proof": proof}).status_code == 403
    proof = reader.open("/dashboard/users/ada").form("Sign out").fields["proof"]
    for form in (grant, correct):
        assert reader.post(form.action, form.fields | {"amount": "5", "proof": proof}).status_code == 403
    assert jobs.balance(connection) == 5


def test_a_user_is_paused_and_resumed(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("operate", "read")
    paused = browser.send(browser.open("/dashboard/users/ada").form("Pause"), reason="too much of it")
    assert paused.said == "Jobs of ada are not started any more."
    assert "too much of it" in paused.text
    assert audited(connection)[1:] == ("pause", "setting:paused.user.ada", "too much of it")
    assert connection.execute("SELECT count(*) FROM generation_job WHERE parked").fetchone() != (0,)
    assert "Paused since" not in browser.open("/dashboard/users/bob").text
    resumed = browser.send(paused.form("Resume"))
    assert resumed.said == "Jobs of ada are started again."
    assert connection.execute("SELECT count(*) FROM generation_job WHERE parked").fetchone() == (0,)


def test_every_character_may_stand_in_an_id(sign_in: SignIn, connection: Connection):
    users = [*(user for user in STRANGE if user not in UNREACHABLE), "<b>x</b>", "a..b", "it's", '"']
    for user in users:
        jobs.grant(connection, user, 3)
    browser = sign_in("operate", "read")
    listed = browser.open("/dashboard/users")
    assert "<b>x" not in listed.answer.text
    addresses = [link.attributes["href"] for link in listed.tree.one("tbody").all("a")]
    for user, address in zip(sorted(users), addresses, strict=True):
        page = browser.open(address)
        assert page.heading == " ".join(user.split())
        done = browser.send(page.form("Grant credits"), amount="4")
        assert (done.status, done.heading) == (200, page.heading)
        assert jobs.balance(connection, user) == 7
    browser.send(browser.open(addresses[-1]).form("Pause"))
    paused = connection.execute("SELECT name FROM fleet_setting WHERE starts_with(name, 'paused')").fetchall()
    assert paused == [(f"paused.user.{max(users)}",)]
