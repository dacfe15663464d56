"""Dead letters on a page: why, which, and another try."""

from __future__ import annotations

from typing import Any

import pytest

from generation_worker.db import jobs as results
from generation_worker.web.pages import jobs as page_of_failed
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.support.waiting import wait_until
from tests.web.pages.conftest import SignIn
from tests.web.pages.test_jobs import MARKUP, listed, row


def test_by_code_and_one_by_one(sign_in: SignIn, population: Population):
    browser = sign_in("read")
    both = {"content_blocked", "no_image"}
    wait_until(lambda: both <= set(browser.open("/dashboard/failed").links), "the latest look shows them")
    page = browser.open("/dashboard/failed")
    reasons = page.rows("Why, in the last day")
    assert sorted((each["code"], each["jobs"]) for each in reasons) == [("content_blocked", "1"), ("no_image", "1")]
    assert listed(page) == [str(population.blocked), str(population.failed)]
    assert "the provider sent no image" in row(page, population.failed)
    assert "1 refunded" in row(page, population.failed)
    assert listed(browser.open(page.links["no_image"])) == [str(population.failed)]
    assert listed(browser.send(page.form("Show"), user_id="bob")) == []
    assert listed(browser.send(page.form("Show"), user_id="ada", code="content_blocked")) == [str(population.blocked)]
    assert not page.has_form("Retry")
    assert "Retry many…" not in page.links


def test_one_is_retried_and_the_list_comes_back(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "enqueue")
    page = browser.open("/dashboard/failed?code=no_image")
    after = browser.send(page.form("Retry"), reason="worth a try")
    assert after.path == "/dashboard/failed?code=no_image"
    row_ = connection.execute("SELECT id FROM generation_job WHERE retry_of = %s", [population.failed]).fetchone()
    assert row_ is not None
    assert after.said == f"Enqueued again, as {row_[0]}."
    assert f"…{str(row_[0])[-8:]}" in row(after, population.failed)
    assert not after.has_form("Retry")


def test_pages_add_up_however_little_the_filter_lets_through(
    sign_in: SignIn, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    put = [jobs.put_job(connection, "failed", error_code="rare" if n % 7 == 0 else "common") for n in range(20)]
    monkeypatch.setattr(page_of_failed, "ON_A_PAGE", 2)
    defaults: Any = results.ResultInsights.look_at_dead_letters.__kwdefaults__
    monkeypatch.setitem(defaults, "cap", 3)
    browser = sign_in("read")

    def found(path: str) -> list[str]:
        page = browser.open(path)
        ids = listed(page)
        while "Older" in page.links:
            page = browser.open(page.links["Older"])
            ids += listed(page)
        return ids

    assert found("/dashboard/failed") == [str(job) for job in reversed(put)]
    assert found("/dashboard/failed?code=rare") == [str(job) for job in reversed(put[::7])]
    assert found("/dashboard/failed?code=never") == []
    assert "there are older ones" in browser.open("/dashboard/failed?code=never").text


def test_words_of_others_are_text(sign_in: SignIn, connection: Connection):
    jobs.put_job(connection, "failed", error_code=MARKUP, error_message=MARKUP, user_id=MARKUP)
    browser = sign_in("read")
    wait_until(lambda: browser.open("/dashboard/failed").text.count(MARKUP) == 5, "the latest look shows it")
    page = browser.open("/dashboard/failed")
    assert page.tree.one("main").all("script", "b") == []


@pytest.mark.parametrize("wrong", ["cursor=yesterday", "code=%00", "page=2"])
def test_what_is_not_valid_is_a_page_that_says_so(sign_in: SignIn, wrong: str):
    page = sign_in("read").open(f"/dashboard/failed?{wrong}")
    assert (page.status, page.problem) == (422, "invalid_request")
