"""The list of jobs, as a person looks through it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from generation_worker.web.pages import jobs as page_of_jobs
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn

MARKUP = '<script>alert("x")</script> & <b>bold</b>'


def listed(page: Page) -> list[str]:
    """The ids in their order."""
    assert page.status == 200, page.text
    rows = [row.attributes.get("id", "") for row in page.tree.all("tr")]
    return [row.removeprefix("job-") for row in rows if row.startswith("job-")]


def row(page: Page, job: object) -> str:
    return page.tree.one("tr", id=f"job-{job}").text


def test_the_latest_first_with_what_each_is_about(sign_in: SignIn, population: Population):
    page = sign_in("read").open("/dashboard/jobs")
    expected = [population.bobs, *reversed(population.pending), population.processing, population.cancelled]
    assert listed(page)[:6] == [str(job) for job in expected]
    assert "red kite" in row(page, population.completed)
    assert "1 charged" in row(page, population.completed)
    assert "1 refunded" in row(page, population.failed)
    assert "no_image" in row(page, population.failed)
    assert "not charged" in row(page, population.cancelled)
    assert "to charge" in row(page, population.bobs)
    assert "worker-1" in row(page, population.processing)
    assert "1 of 4" in row(page, population.processing)
    assert "next" in row(page, population.pending[0])
    assert "3 before it" in row(page, population.bobs)
    [picture] = page.tree.one("tr", id=f"job-{population.completed}").all("img")
    assert picture.attributes["src"] == f"/dashboard/jobs/{population.completed}/images/0"
    assert page.tree.one("tr", id=f"job-{population.failed}").all("img") == []


def test_filters_as_the_form_sends_them(sign_in: SignIn, population: Population):
    browser = sign_in("read")
    page = browser.open("/dashboard/jobs")
    failed = browser.send(page.form("Show"), status="failed")
    assert listed(failed) == [str(population.blocked), str(population.failed)]
    assert failed.form("Show").fields["status"] == "failed"
    assert listed(browser.send(page.form("Show"), user_id="bob")) == [str(population.bobs)]
    assert listed(browser.send(page.form("Show"), kind="image_processing")) == []
    assert listed(browser.send(page.form("Show"))) == listed(page)


def test_pages_add_up(sign_in: SignIn, population: Population, monkeypatch: pytest.MonkeyPatch):
    browser = sign_in("read")
    everything = listed(browser.open("/dashboard/jobs?user_id=ada"))
    monkeypatch.setattr(page_of_jobs, "ON_A_PAGE", 4)
    page = browser.open("/dashboard/jobs?user_id=ada")
    found = listed(page)
    while "Older" in page.links:
        page = browser.open(page.links["Older"])
        assert len(listed(page)) <= 4
        found += listed(page)
    assert found == everything
    assert listed(browser.open(page.links["Latest"])) == everything[:4]


def test_found_by_how_an_id_begins(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read")
    page = browser.open("/dashboard/jobs")
    found = browser.send(page.form("Find"), find=f" {str(population.failed)[:30]}")
    assert str(population.failed) in found.heading
    begin_alike = [jobs.put_job(connection, id=f"abcdef00-0000-7000-8000-00000000000{n}") for n in range(3)]
    several = browser.send(page.form("Find"), find="ABCDEF")
    assert listed(several) == [str(job) for job in reversed(begin_alike)]
    for nothing in ("ffffffff", "%", "'; --", MARKUP):
        assert "No job has an id that begins so" in browser.send(page.form("Find"), find=nothing).text


def test_what_users_wrote_is_text(sign_in: SignIn, connection: Connection):
    jobs.offer_local(connection)
    jobs.grant(connection, MARKUP)
    inputs = {"animal": MARKUP}
    job = jobs.enqueue(connection, MARKUP, payload={"prompt": "a {{animal}}", "inputs": inputs})
    browser = sign_in("read")
    for path in ("/dashboard/jobs", f"/dashboard/jobs/{job}"):
        page = browser.open(path)
        assert MARKUP in page.text
        assert f"a {MARKUP}" in page.text
        assert page.tree.one("main").all("script", "b") == []
        assert "alert" not in "".join(script.text for script in page.tree.all("script"))
    link = browser.open("/dashboard/jobs").links[MARKUP]
    assert link.startswith("/dashboard/users/")
    assert urlsplit(link).path.count("/") == 3


@pytest.mark.parametrize(
    "payload",
    [{}, {"prompt": "a {{b}}", "inputs": {}}, {"prompt": 5}, {"prompt": "a {{b}}", "inputs": [1]}, {"operations": 1}],
)
def test_rows_that_anybody_may_have_written_are_shown(
    sign_in: SignIn, connection: Connection, payload: dict[str, object]
):
    job = jobs.put_job(connection, "completed", payload=payload, result={"images": "none"})
    browser = sign_in("read")
    assert listed(browser.open("/dashboard/jobs")) == [str(job)]
    assert browser.open(f"/dashboard/jobs/{job}").status == 200


@pytest.mark.parametrize(
    "wrong", ["status=done", "kind=painting", "cursor=x", "user_id=%00", "unknown=1", "status=failed&status=done"]
)
def test_what_is_not_valid_is_a_page_that_says_so(sign_in: SignIn, wrong: str):
    page = sign_in("read").open(f"/dashboard/jobs?{wrong}")
    assert (page.status, page.problem) == (422, "invalid_request")


def test_many_are_chosen_by_the_same_filter(sign_in: SignIn, population: Population):
    page = sign_in("read", "operate").open("/dashboard/jobs?user_id=bob&status=pending")
    asked = urlsplit(page.links["Cancel many…"])
    assert asked.path == "/dashboard/many/cancel"
    assert parse_qs(asked.query) == {"status": ["pending"], "user_id": ["bob"]}
    assert "Cancel many…" not in sign_in("read").open("/dashboard/jobs?user_id=bob").links
