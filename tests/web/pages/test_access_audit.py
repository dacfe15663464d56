"""The audit trail as a page: what it shows of an event, what can be chosen, and how one goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from generation_worker.db.audit_trail import Author, record_change
from generation_worker.web.pages import access as audit
from generation_worker.web.pages.access import Difference, differences, link_to
from tests.support.database import Connection, queries_on
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn

PATH = "/dashboard/audit"


def write(connection: Connection, action: str, target: str, *, by: str = "cli:ada", **more: Any) -> None:
    record_change(queries_on(connection), Author(by, more.pop("reason", None)), action, target, **more)


def targets(page: Page) -> list[str]:
    """Of all events but those that signing in has left there."""
    found = [row["to"] for row in page.rows("Events")] if page.tree.all("table") else []
    return [target for target in found if not target.startswith("token:")]


def test_an_event_with_its_difference(sign_in: SignIn, connection: Connection):
    before, after = {"balance": 5, "same": 1, "note": "<b>x</b>"}, {"balance": 7, "same": 1, "entry": 2}
    write(connection, "credits.grant", "user:a/b c", before=before, after=after, reason="a <i>gift</i>")
    page = sign_in("read").open(PATH)
    [row] = [row for row in page.rows("Events") if row["did"] == "credits.grant"]
    assert (row["who"], row["to"], row["why"]) == ("cli:ada", "user:a/b c", "a <i>gift</i>")
    [shown] = [each for each in page.tree.all("tr") if "credits.grant" in each.text]
    changes = {change.text for change in shown.all("div", class_="change")}
    assert changes == {"balance 5 7", "note <b>x</b>", "entry 2"}
    assert {each.text for each in shown.all("del")} == {"5", "<b>x</b>"}
    assert {each.text for each in shown.all("ins")} == {"7", "2"}
    assert page.links["user:a/b c"] == "/dashboard/users/a%2Fb%20c"


def test_events_are_chosen_by_how_they_begin(sign_in: SignIn, connection: Connection):
    write(connection, "job.cancel", "job:1", by="cli:ada")
    write(connection, "job.replay", "job:2", by="key:1")
    write(connection, "setting.set", "setting:concurrency", by="key:2", after=3)
    browser = sign_in("read")
    form = browser.open(PATH).form("Show")
    assert targets(browser.send(form)) == ["setting:concurrency", "job:2", "job:1"]
    assert targets(browser.send(form, actor="key:")) == ["setting:concurrency", "job:2"]
    assert targets(browser.send(form, actor="key:", action="job.")) == ["job:2"]
    page = browser.send(form, target="setting:")
    assert targets(page) == ["setting:concurrency"]
    assert page.form("Show").fields["target"] == "setting:"
    page = browser.send(form, actor="nobody")
    assert "No event matches." in page.text


def test_since(sign_in: SignIn, connection: Connection):
    write(connection, "job.cancel", "job:1")
    browser = sign_in("read")
    form = browser.open(PATH).form("Show")
    now = datetime.now(UTC)
    page = browser.send(form, since=(now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M"))
    assert targets(page) == ["job:1"]
    assert page.form("Show").fields["since"] == (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    assert targets(browser.send(form, since=(now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M"))) == []
    assert targets(browser.open(f"{PATH}?since={now:%Y}-01-01T00:00:00%2B02:00")) == ["job:1"]


@pytest.mark.parametrize("query", ["since=yesterday", "before=0", "before=x", "actor=%00", "moon=1"])
def test_what_cannot_be_asked_is_named(sign_in: SignIn, query: str):
    page = sign_in("read").open(f"{PATH}?{query}")
    assert (page.status, page.problem) == (422, "invalid_request")
    assert query.partition("=")[0] in page.text


def test_page_by_page(sign_in: SignIn, connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "ROWS", 2)
    for n in range(5):
        write(connection, "job.cancel", f"job:{n}")
    browser, found = sign_in("read"), list[str]()
    page = browser.open(f"{PATH}?target=job:")
    for _ in range(3):
        found += targets(page)
        assert "target=job%3A" in page.links.get("Older", "target=job%3A")
        page = browser.open(page.links.get("Older", PATH))
    assert found == [f"job:{n}" for n in (4, 3, 2, 1, 0)]


def test_what_matches_seldom_is_looked_for_piece_by_piece(
    sign_in: SignIn, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    """No page reads more of a long trail than its cap, and each says where it has stopped."""
    monkeypatch.setattr(audit, "CAP", 10)
    write(connection, "job.cancel", "job:rare")
    for _ in range(25):
        write(connection, "setting.set", "setting:concurrency")
    browser = sign_in("read")
    page = browser.open(f"{PATH}?target=job:")
    assert targets(page) == []
    assert "Events were searched back to" in page.text
    looks = 1
    while not targets(page):
        page = browser.open(page.links["Search further back"])
        looks += 1
    assert targets(page) == ["job:rare"]
    assert looks == 3
    assert "Search further back" not in page.links
    page = browser.open(f"{PATH}?target=job:&since={datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M}")
    assert "Search further back" not in page.links, "before that moment there is nothing to look for"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, []),
        (60, 30, [("", "60", "30")]),
        (None, 30, [("", None, "30")]),
        ("local", None, [("", "local", None)]),
        (None, {"reason": None}, []),
        (None, {"a": True, "b": {"c": [1]}}, [("a", None, "true"), ("b", None, '{"c": [1]}')]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("b", "2", "3")]),
        ({"a": 1}, 5, [("", '{"a": 1}', "5")]),
    ],
)
def test_differences(before: Any, after: Any, expected: list[tuple[Any, ...]]):
    assert differences(before, after) == [Difference(*each) for each in expected]


@pytest.mark.parametrize(
    ("target", "link"),
    [
        ("job:0190-1", "/dashboard/jobs/0190-1"),
        ("user:a:b/c%", "/dashboard/users/a%3Ab%2Fc%25"),
        ("setting:paused.user.ada", "/dashboard/control"),
        ("endpoint:0190-1", "/dashboard/webhooks/0190-1"),
        ("endpoints", None),
        ("token:abc", None),
    ],
)
def test_where_the_thing_itself_is(target: str, link: str | None):
    assert link_to(target) == link
