"""The page of the workers: who works, on what, and the upkeep that they share."""

from __future__ import annotations

import pytest

from generation_worker.db.ledger import explain_invariant
from generation_worker.db.protocol import PostgresStore
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population, SingleConnection
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn

PATH = "/dashboard/workers"


def first_table(page: Page, title: str) -> list[list[str]]:
    [section] = [each for each in page.tree.all("section") if each.all("h2") and each.one("h2").text == title]
    return [[c.text for c in row.all("td", "th")] for row in section.all("table")[0].one("tbody").all("tr")]


def test_who_works_and_on_what(sign_in: SignIn, population: Population):
    page = sign_in("read").open(PATH)
    [worker] = page.rows("Processes")
    assert (worker["worker"], worker["state"], worker["busy"], worker["providers"]) == (
        WORKER,
        "busy",
        "1 of 5",
        "local",
    )
    [job] = page.rows("What each does now")
    assert (job["user"], job["kind"], job["attempt"]) == ("ada", "text_to_image", "1 of 4")
    assert job["lease"].endswith(" left")
    assert f"/dashboard/jobs/{population.processing}" in page.links.values()


def test_what_users_are_called_is_text(sign_in: SignIn, connection: Connection):
    name = "a/b <script>alert(1)</script>%2F?"
    jobs.put_job(connection, "processing", user_id=name)
    page = sign_in("read").open(PATH)
    assert page.rows("What each does now")[0]["user"] == name
    assert "<script>alert" not in page.answer.text
    address = page.links[name]
    assert address == "/dashboard/users/a%2Fb%20%3Cscript%3Ealert%281%29%3C%2Fscript%3E%252F%3F"


@pytest.mark.usefixtures("population")
def test_jobs_of_a_worker_that_fell_silent(sign_in: SignIn, connection: Connection):
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '3 minutes'")
    connection.execute(
        "UPDATE generation_job SET lease_expires_at = now() - interval '1 minute' WHERE status = 'processing'"
    )
    page = sign_in("read").open(PATH)
    assert "No worker has been heard of for two minutes." in page.text
    assert [row["worker"] for row in page.rows("Silent")] == [WORKER]
    assert "Of workers that are silent or gone" in page.text
    [job] = page.rows("What each does now")
    assert job["lease"] == "ran out"
    assert WORKER in job["job"]


def test_stuck_jobs_and_several_versions(sign_in: SignIn, connection: Connection, population: Population):
    connection.execute("UPDATE worker_process SET stuck = 2")
    jobs.put_row(
        connection, "worker_process", id="worker-2", version="0.2.0", providers=["local"], concurrency=3, keys=[]
    )
    page = sign_in("read").open(PATH)
    assert {row["worker"]: (row["state"], row["stuck"]) for row in page.rows("Processes")} == {
        WORKER: ("stuck", "2"), "worker-2": ("idle", "0"),
    }  # fmt: skip
    assert "They are of several versions" in page.text


def test_the_tasks_of_maintenance(sign_in: SignIn, connection: Connection):
    store = PostgresStore(SingleConnection(connection))
    store.finish_task("sweep", error="the storage is away")
    store.finish_task("prune", error=None)
    connection.execute("UPDATE maintenance_task SET next_at = now() - interval '2 hours' WHERE name = 'hold'")
    tasks = {row[0]: row for row in first_table(sign_in("read").open(PATH), "Maintenance")}
    assert tasks["sweep"][3] == "failed: the storage is away"
    assert tasks["prune"][3] == "went well"
    assert tasks["expire"][2].startswith("never")
    assert tasks["hold"][2] == "never due for 2h"
    assert all(row[1] for row in tasks.values()), "each task says what it does"


def test_a_rule_of_the_books_that_does_not_hold(sign_in: SignIn, connection: Connection):
    found = {
        "balance_is_the_sum_of_entries": 3,
        "final_means_finished": 0,
        "attempts_within_bounds": None,
        "of_later": 100,
    }
    PostgresStore(SingleConnection(connection)).save_findings("audit", {"violations": found})
    page = sign_in("read").open(PATH)
    assert "balance_is_the_sum_of_entries: 3 rows" in page.text
    assert explain_invariant("balance_is_the_sum_of_entries") in page.text
    assert "attempts_within_bounds: could not be checked in its time" in page.text
    assert "of_later: 100 rows or more Another version of the worker" in page.text
    assert "final_means_finished" not in page.text
    assert "generation-worker credits audit" in page.text


def test_books_that_hold(sign_in: SignIn, connection: Connection):
    store = PostgresStore(SingleConnection(connection))
    store.save_findings("audit", {"violations": {"one": 0, "two": 0}})
    store.finish_task("audit", error=None)
    tasks = {row[0]: row for row in first_table(sign_in("read").open(PATH), "Maintenance")}
    assert tasks["audit"][3] == "all 2 rules hold"
