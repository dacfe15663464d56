"""What the overview says needs somebody: each finding by itself, with where it leads, and none where all is well."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from generation_worker.db.protocol import PostgresStore
from generation_worker.web.pages.overview import OVERDUE, Alert, list_alerts
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population, SingleConnection
from tests.web.pages.conftest import SignIn


def row(**values: Any) -> Any:
    """What an alert needs of a row of the database."""
    return SimpleNamespace(**values)


ID = UUID("01900000-0000-7000-8000-000000000001")
WELL: dict[str, Any] = {
    "waiting": [row(provider="local", seconds=5.0, workers=1)],
    "workers": [row(id="worker-1", state="busy", stuck=0)],
    "gates": [row(provider="gemini", key_label="gemini-1", state="limited", reason="429")],
    "processing": [row(id=ID, lease_seconds=-119.0)],
    "endpoints": [row(id=ID, state="ok", reason=None)],
    "tasks": [row(name="prune", seconds=86_400.0, overdue=OVERDUE, last_error=None, found=None)],
    "duplicates": row(jobs=0, calls=0, example=None),
}


def task(**values: Any) -> Any:
    return row(**{**vars(WELL["tasks"][0]), **values})


def test_where_all_is_well_there_is_none():
    assert list_alerts(**WELL) == []


@pytest.mark.parametrize(
    ("wrong", "level", "says", "link"),
    [
        (
            {"tasks": [task(found={"violations": {"one": 2, "two": 0, "three": None}})]},
            "bad",
            "one, 2 rows",
            "workers#maintenance",
        ),
        ({"tasks": [task(last_error="no disk")]}, "warn", "prune failed: no disk", "workers#maintenance"),
        ({"tasks": [task(overdue=3600.0)]}, "warn", "prune has been due for 1h", "workers#maintenance"),
        (
            {"workers": [row(id="w", state="silent", stuck=3)]},
            "bad",
            "No worker has sent a heartbeat",
            "workers",
        ),
        ({"workers": [row(id="w", state="stuck", stuck=3)]}, "bad", "w has 3 stuck jobs", "workers"),
        (
            {"waiting": [row(provider="far", seconds=90.0, workers=0)]},
            "bad",
            "Jobs for far have waited for 1m 30s",
            "providers",
        ),
        (
            {"gates": [row(provider="far", key_label="far-1", state="open", reason="401")]},
            "bad",
            "far-1 fail (401)",
            "providers",
        ),
        (
            {"gates": [row(provider="far", key_label="far-1", state="probing", reason=None)]},
            "bad",
            "far-1 fail (for an unknown reason)",
            "providers",
        ),
        ({"processing": [row(id=ID, lease_seconds=-121.0)]}, "bad", "expired 2m 1s ago", f"jobs/{ID}"),
        (
            {"endpoints": [row(id=ID, state="disabled", reason="gone")]},
            "warn",
            "is disabled: gone",
            f"webhooks/{ID}",
        ),
        (
            {"endpoints": [row(id=ID, state="failing", reason="500")]},
            "warn",
            "fails: 500",
            f"webhooks/{ID}",
        ),
        ({"duplicates": row(jobs=1, calls=2, example=ID)}, "warn", "2 calls of the last day", f"jobs/{ID}"),
    ],
)
def test_each_finding(wrong: dict[str, Any], level: str, says: str, link: str):
    [found] = list_alerts(**{**WELL, **wrong})
    assert (found.level, found.link) == (level, f"/dashboard/{link}")
    assert says in found.text


def test_the_bad_ones_come_first():
    wrong: dict[str, Any] = {
        "tasks": [task(last_error="no disk")],
        "gates": [row(provider="far", key_label="far-1", state="open", reason="401")],
    }
    assert [found.level for found in list_alerts(**{**WELL, **wrong})] == ["bad", "warn"]


def test_a_task_that_was_never_done_is_not_late():
    """A worker without a storage has nothing to sweep."""
    never: dict[str, Any] = {"tasks": [task(seconds=None, overdue=86_400.0)]}
    found: list[Alert] = list_alerts(**{**WELL, **never})
    assert found == []


def test_the_overview_shows_them_and_they_lead_to_pages(
    sign_in: SignIn, connection: Connection, population: Population
):
    store = PostgresStore(SingleConnection(connection))
    store.save_findings("audit", {"violations": {"final_means_finished": 2}})
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    browser = sign_in("read")
    page = browser.open("/dashboard")
    shown = {link.text: link.attributes["href"] for item in page.tree.all("li", class_="bad") for link in item.all("a")}
    assert sorted(shown) == [
        "No worker has sent a heartbeat for two minutes.",
        "The ledger is wrong: final_means_finished, 2 rows.",
    ]
    for address in shown.values():
        assert browser.open(address.partition("#")[0]).status == 200
    assert browser.open("/dashboard/workers").tree.all("h2", id="maintenance")


def test_a_new_installation_is_told_how_to_begin(sign_in: SignIn, connection: Connection):
    """With a statement that does what it says."""
    jobs.offer_local(connection)
    jobs.grant(connection, "ada", 10)
    browser = sign_in("read")
    page = browser.open("/dashboard")
    assert "There is no job yet" in page.text
    [begin] = [each for each in page.tree.all("pre") if "enqueue_generation" in each.text]
    row = connection.execute(begin.text.encode()).fetchone()
    assert row is not None
    assert row[1] == "pending"
