"""The same change to many jobs: counted first, then done, in as many rounds as it takes."""

from __future__ import annotations

import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import WORKER, Population
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn
from tests.web.pages.test_job import recorded


def title(page: Page) -> str:
    return page.tree.all("h2")[-1].text


def test_cancel_first_counted_then_done(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "operate")
    asked = browser.open("/dashboard/many/cancel")
    assert "Name something" in asked.text
    counted = browser.send(asked.form("Count"), user_id="ada")
    assert title(counted) == "6 jobs would be cancelled"
    assert recorded(connection) == []
    done = browser.send(counted.form("Cancel 6 jobs"), reason="closed their account")
    assert done.path == "/dashboard/jobs"
    assert done.said == "6 jobs cancelled. That was all."
    assert [event[0::2] for event in recorded(connection)] == [("job.cancel", "closed their account")] * 6
    assert {event[3] for event in recorded(connection)} == {True}
    assert jobs.job(connection, population.bobs)["status"] == "pending"
    again = browser.open("/dashboard/many/cancel?user_id=ada")
    assert title(again) == "0 jobs would be cancelled"
    assert not again.has_form("/dashboard/many/cancel") or all(
        f.method == "GET" for f in again.forms if "many" in f.action
    )


def test_release_and_retry(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "operate")
    page = browser.open("/dashboard/many/release?provider=local")
    assert browser.send(page.form("Release 2 jobs")).said == "2 jobs released. That was all."
    page = browser.open(f"/dashboard/many/release?worker={WORKER}")
    assert browser.send(page.form("Release 1 job")).said == "1 job released. That was all."
    page = browser.open(browser.open("/dashboard/failed?code=no_image").links["Retry many…"])
    done = browser.send(page.form("Retry 1 job"))
    assert (done.path, done.said) == ("/dashboard/failed", "1 job enqueued again. That was all.")
    row = connection.execute("SELECT count(*) FROM generation_job WHERE retry_of = %s", [population.failed]).fetchone()
    assert row == (1,)


def test_going_on_until_it_is_done(
    sign_in: SignIn, connection: Connection, population: Population, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("generation_worker.db.bulk.AT_ONCE", 0)
    browser = sign_in("read", "operate")
    page = browser.open("/dashboard/many/cancel?status=pending")
    page = browser.send(page.form("Cancel 4 jobs"), reason="too many")
    for left in (3, 2, 1):
        assert page.said == "1 job cancelled. There may be more."
        assert title(page) == f"{left} job{'' if left == 1 else 's'} left"
        assert recorded(connection)[-1][2] == "too many"
        page = browser.send(page.form("Go on"), reason="too many")
    assert page.text.count("nothing more to do") == 1
    row = connection.execute("SELECT count(*) FROM generation_job WHERE status = 'pending'").fetchone()
    assert row == (0,)


def test_what_was_refused_is_said(sign_in: SignIn, connection: Connection, population: Population):
    connection.execute("SELECT adjust_credits('ada', -balance) FROM credit_account WHERE user_id = 'ada'")
    browser = sign_in("read", "operate")
    done = browser.send(browser.open("/dashboard/many/retry?error_code=no_image").form("Retry 1 job"))
    assert done.said is not None
    assert done.said.startswith("0 jobs enqueued again; 1 refused (1 insufficient_credits), such as: credits:")


def test_going_on_leaves_what_was_refused_behind(
    sign_in: SignIn, connection: Connection, population: Population, monkeypatch: pytest.MonkeyPatch
):
    """Each of ada's two is refused in a round of its own, and then it is over."""
    connection.execute("SELECT adjust_credits('ada', -balance) FROM credit_account WHERE user_id = 'ada'")
    monkeypatch.setattr("generation_worker.db.bulk.AT_ONCE", 0)
    browser = sign_in("read", "operate")
    page = browser.send(browser.open("/dashboard/many/retry?status=failed").form("Retry 2 jobs"))
    page = browser.send(page.form("Go on"))
    assert title(page) == "2 jobs left"
    last = browser.send(page.form("Go on"))
    assert (last.path, last.said) == ("/dashboard/failed", "0 jobs enqueued again. That was all.")


@pytest.mark.parametrize("word", ["cancel", "release", "retry"])
def test_only_for_operators_with_proof(sign_in: SignIn, connection: Connection, population: Population, word: str):
    path = f"/dashboard/many/{word}"
    reader = sign_in("read", "enqueue")
    assert reader.open(f"{path}?user_id=ada").status == 403
    proof = reader.open("/dashboard").form("Sign out").fields["proof"]
    assert reader.post(path, {"proof": proof, "user_id": "ada"}).status_code == 403
    operator = sign_in("read", "operate")
    assert operator.post(path, {"user_id": "ada"}).status_code == 403
    assert operator.post(path, {"proof": proof, "user_id": "ada"}).status_code == 403
    assert recorded(connection) == []


def test_a_filter_that_is_wrong_is_named_and_changes_nothing(
    sign_in: SignIn, connection: Connection, population: Population
):
    browser = sign_in("read", "operate")
    page = browser.open("/dashboard/many/cancel?status=completed")
    assert page.status == 422
    assert "filter.status: jobs that are 'completed' are not to cancel" in page.text
    assert page.form("Count").fields["status"] == "completed"
    proof = page.form("Sign out").fields["proof"]
    assert Page(browser.post("/dashboard/many/cancel", {"proof": proof})).problem == "invalid_request"
    assert Page(browser.post("/dashboard/many/cancel", {"proof": proof, "older_than": "x"})).status == 422
    assert browser.open("/dashboard/many/delete").status == 422
    assert recorded(connection) == []
