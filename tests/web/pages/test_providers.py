"""The page of the providers: limits, gates, calls, what waits; and what can be done about them there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.gates import FAR, OTHER, Fleet
from tests.support.populated import Population
from tests.web.pages.browser import Browser, Page
from tests.web.pages.conftest import SignIn

PATH = "/dashboard/providers"


@pytest.fixture
def fleet(connection: Connection) -> Fleet:
    """A worker with two keys of the provider `far`."""
    fleet = Fleet(connection)
    fleet.register(FAR, OTHER)
    return fleet


def keys(page: Page) -> dict[str, dict[str, str]]:
    """The rows of the keys, the first table of the page, by the key."""
    table = page.tree.all("table")[0]
    columns = [each.text for each in table.one("thead").all("th")]
    rows = [[cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def calls(connection: Connection, *calls: dict[str, Any]) -> None:
    """Calls for as many jobs, of this hour unless they say otherwise."""
    for call in calls:
        job_id = jobs.put_job(connection)
        names = {"key_label": "far-1", "model": "m-1", "spent": True, "milliseconds": 1500, "error_code": None, **call}
        connection.execute(
            "INSERT INTO provider_call (job_id, number, lease_token, provider, started_at, finished_at, key_label,"
            " model, spent, milliseconds, error_code) VALUES (%(id)s, 1, gen_random_uuid(), 'far', now(), now(),"
            " %(key_label)s, %(model)s, %(spent)s, %(milliseconds)s, %(error_code)s)",
            {"id": job_id, **names},
        )


def test_a_key_with_its_limit(sign_in: SignIn, fleet: Fleet):
    fleet.enqueue(2)
    for job in fleet.claim(2).jobs:
        fleet.begin(job)
    page = sign_in("read").open(PATH)
    found = keys(page)
    used = {label: row["calls of the last minute"] for label, row in found.items()}
    assert sum(int(text.split()[0]) for text in used.values()) == 2
    assert used["far-1"].endswith(f"of {FAR.calls_per_minute}")
    assert found["far-1"]["limit"] == "3 a minute as the workers were started"
    assert found["far-1"]["held by"] == "worker-1"
    assert found["far-1"]["state"] == "ok"
    assert {meter.attributes["max"] for meter in page.tree.all("meter")} == {"3", "2"}


def test_what_keeps_calls_back(sign_in: SignIn, fleet: Fleet):
    fleet.register(FAR)
    fleet.call("refused")
    found = keys(sign_in("read").open(PATH))["far-1"]
    assert found["state"].startswith("open it refused; since ")
    assert "tried again in " in found["state"]


def test_failures_in_a_row_and_a_provider_that_says_it_is_too_early(sign_in: SignIn, fleet: Fleet):
    fleet.register(FAR)
    fleet.call("failed")
    fleet.call("limited", wait=50)
    found = keys(sign_in("read").open(PATH))["far-1"]
    assert found["failures in a row"] == "1"
    assert found["state"].startswith("limited it limited; tried again in ")


def test_the_calls_of_the_last_hour_and_those_paid_in_vain(sign_in: SignIn, fleet: Fleet, connection: Connection):
    calls(connection, {}, {"milliseconds": 2500}, {"error_code": "no_image"}, {"error_code": "lost", "spent": None})
    page = sign_in("read").open(PATH)
    table = page.tree.all("table")[-1]
    rows = [[cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")]
    assert rows == [
        ["far-1", "m-1", "ok", "2", "2s", "0", "0"],
        ["far-1", "m-1", "lost", "1", "2s", "0", "1"],
        ["far-1", "m-1", "no_image", "1", "2s", "1", "0"],
    ]


def test_what_waits_and_duplicates(sign_in: SignIn, population: Population, connection: Connection):
    job = jobs.put_job(connection, cost=4)
    connection.execute(
        "INSERT INTO provider_call (job_id, number, lease_token, provider, key_label, started_at, spent)"
        " SELECT %s, n, gen_random_uuid(), 'local', 'local', now(), true FROM generate_series(1, 2) n",
        [job],
    )
    page = sign_in("read").open(PATH)
    assert "1 living worker serves it. Waiting: 5 in line, 1 scheduled, 1 rate limited." in page.text
    assert "1 calls for 1 jobs of the last day were, or may have been, paid for more than once" in page.text


def test_a_lane_that_nobody_serves(sign_in: SignIn, population: Population, connection: Connection):
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    assert "No living worker serves it. Waiting: 4 in line" in sign_in("read").open(PATH).text


def test_a_provider_is_paused_and_goes_on(sign_in: SignIn, population: Population, connection: Connection):
    browser = sign_in("read", "operate")
    page = browser.send(browser.open(PATH).form("Pause local"), reason="out of order")
    assert page.path == PATH
    assert page.said == "The provider local is paused now; what runs goes on."
    query = "SELECT value FROM fleet_setting WHERE name = 'paused.provider.local'"
    assert connection.execute(query).fetchone() == ({"reason": "out of order"},)
    assert ": out of order." in page.text
    page = browser.send(page.form("Resume provider local"))
    assert page.said == "The provider local goes on."
    assert page.has_form("Pause local")


def test_limits_are_changed_for_a_key_and_for_all_of_a_provider(sign_in: SignIn, fleet: Fleet, connection: Connection):
    browser = sign_in("read", "admin")
    page = browser.open(PATH)
    page = browser.send(page.form("Limit calls_per_minute.far-1"), value="9", reason="they gave us more")
    assert page.said == "calls_per_minute.far-1 is 9 now."
    limits = dict(connection.execute("SELECT key_label, calls_per_minute FROM provider_gate").fetchall())
    assert limits == {"far-1": 9, "far-2": 2}
    found = keys(page)["far-1"]["limit"]
    assert found.startswith("9 a minute set for far-1 by dashboard:")
    assert found.endswith("; workers were started with 3")
    page = browser.send(page.form("Limit of each key calls_per_minute.far"), value="5")
    limits = dict(connection.execute("SELECT key_label, calls_per_minute FROM provider_gate").fetchall())
    assert limits == {"far-1": 9, "far-2": 5}
    page = browser.send(page.form("Take back calls_per_minute.far-1"))
    assert keys(page)["far-1"]["limit"].startswith("5 a minute set for far by dashboard:")


def test_who_may_only_read_is_shown_no_button(sign_in: SignIn, fleet: Fleet):
    assert [form.action for form in sign_in("read").open(PATH).forms] == ["/dashboard/sign-out"]


def test_a_new_installation_has_none(sign_in: SignIn):
    browser: Browser = sign_in("read")
    assert "No provider is known yet" in browser.open(PATH).text
