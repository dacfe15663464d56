"""The page of one job: all that is known of it, and what can be done."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from generation_worker.domain.job import trace_id_of
from generation_worker.worker.image_keys import upload_key
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.support.waiting import wait_until
from tests.support.webhooks import Box, put_endpoint
from tests.web.pages.browser import Page
from tests.web.pages.conftest import SignIn


def at(job: object) -> str:
    return f"/dashboard/jobs/{job}"


def moments(page: Page) -> list[str]:
    return [each.text for each in page.tree.one("ol", class_="timeline").all("strong")]


def facts(page: Page) -> dict[str, str]:
    stands = page.tree.one("dl")
    return dict(zip((each.text for each in stands.all("dt")), (each.text for each in stands.all("dd")), strict=True))


def recorded(connection: Connection) -> list[tuple[str, str, str | None, bool]]:
    told = "action, target, reason, starts_with(actor, 'dashboard:')"
    query = f"SELECT {told} FROM audit_event WHERE action LIKE 'job.%' ORDER BY id"
    return connection.execute(query.encode()).fetchall()


def test_a_failed_job_from_beginning_to_end(sign_in: SignIn, population: Population):
    page = sign_in("read").open(at(population.failed))
    assert moments(page) == [
        "Enqueued",
        "Attempt 1 began",
        "Debit of 1",
        "Call 1 to local",
        "Attempt 1 ended: failed",
        "Failed",
        "Refund of 1",
    ]
    story = page.tree.one("ol", class_="timeline").text
    for said in ("worker worker-1", "model local", "key local", "took 120 ms", "paid yes", "balance 98", "balance 99"):
        assert said in story
    assert "no_image: the provider sent no image" in story
    assert facts(page)["cost"] == "1 refunded"
    assert facts(page)["attempts"] == "1 of 4"
    assert facts(page)["trace"] == trace_id_of(str(population.failed), None)
    assert "a red kite over the sea and the hills" in page.text


def test_who_was_told_and_who_changed_it(sign_in: SignIn, connection: Connection):
    jobs.offer_local(connection)
    jobs.grant(connection)
    endpoint = put_endpoint(connection, events=["job.cancelled"])
    job = jobs.enqueue(connection, traceparent=jobs.TRACEPARENT, idempotency_key="order-7", priority=3)
    browser = sign_in("read", "enqueue")
    page = browser.send(browser.open(at(job)).form("Cancel"), reason="a slip")
    assert page.path == at(job)
    assert page.said == "The job is cancelled."
    assert sorted(moments(page)) == sorted(
        ["Enqueued", "Asked to stop", "job.cancel", "Cancelled", "job.cancelled: pending"]
    )
    story = page.tree.one("ol", class_="timeline").text
    assert "by dashboard:" in story
    assert "why a slip" in story
    assert "status pending → cancelled" in story
    assert page.links["webhook"] == f"/dashboard/webhooks/{endpoint}"
    assert facts(page)["trace"] == jobs.TRACEPARENT[3:35]
    assert facts(page)["idempotency key"] == "order-7"
    box = Box(connection)
    box.deliver(box.take()[0])
    assert "job.cancelled: delivered" in moments(browser.open(at(job)))
    assert recorded(connection) == [("job.cancel", f"job:{job}", "a slip", True)]


def test_a_place_in_line_and_what_keeps_it_there(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read")
    assert facts(browser.open(at(population.pending[0])))["place in line"] == "next"
    assert facts(browser.open(at(population.bobs)))["place in line"] == "3 before it"
    assert "next attempt is in" in browser.open(at(population.rate_limited)).tree.one("ul", class_="findings").text
    assert "Its last attempt failed" in browser.open(at(population.scheduled)).text
    assert "What it waits for" not in browser.open(at(population.bobs)).text
    jobs.configure(connection, **{"paused__user__bob": {"reason": "owes"}})
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, closed_until, closed_for)"
        " VALUES ('local-key', 'local', 60, now() + interval '1 hour', 'limit')"
    )
    connection.execute("UPDATE worker_process SET seen_at = now() - interval '1 hour'")
    job = jobs.enqueue(connection, "bob")
    wait_until(lambda: "No living worker serves local." in browser.open(at(job)).text, "it is seen that nobody works")
    page = browser.open(at(job))
    [waits] = [each.text for each in page.tree.all("ul", class_="findings")]
    assert "Paused: user bob: owes" in waits
    assert "no calls with the key local-key for" in waits
    assert page.links["Paused: user bob: owes"] == "/dashboard/control"


def test_a_running_job(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "enqueue", "operate")
    page = browser.open(at(population.processing))
    assert facts(page)["worker"].startswith("worker-1, for ")
    assert "Attempt 1 began" in moments(page)
    assert not page.has_form("Run next")
    asked = browser.send(page.form("Cancel"))
    assert asked.said == "It was asked to stop; it may still complete first."
    assert not asked.has_form("Cancel")
    taken = browser.send(asked.form("Release"), reason="stuck")
    assert taken.said == "The job is taken from worker-1; another worker takes it over."
    assert [event[0] for event in recorded(connection)] == ["job.cancel", "job.release"]


def test_a_waiting_job_is_put_first_or_made_due(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "operate")
    page = browser.send(browser.open(at(population.bobs)).form("Run next"), reason="a friend")
    assert page.said == "The job is at the front of its lane."
    assert facts(page)["place in line"] == "next"
    page = browser.send(browser.open(at(population.scheduled)).form("Release"))
    assert page.said == "The job is due now."
    connection.execute("INSERT INTO fleet_setting (name, value) VALUES ('paused', '{}')")
    page = browser.send(browser.open(at(population.rate_limited)).form("Run next"))
    assert page.said == "The job is at the front of its lane. It is still paused."
    assert recorded(connection)[0] == ("job.run_next", f"job:{population.bobs}", "a friend", True)


def test_a_failed_job_is_replayed_once(sign_in: SignIn, connection: Connection, population: Population):
    browser = sign_in("read", "enqueue")
    before = browser.open(at(population.failed))
    after = browser.send(before.form("Retry"), reason="again")
    new = connection.execute("SELECT id FROM generation_job WHERE retry_of = %s", [population.failed]).fetchone()
    assert new is not None
    assert after.said == f"Enqueued again, as {new[0]}."
    assert not after.has_form("Retry")
    assert facts(after)["replayed as"] == f"…{str(new[0])[-8:]}"
    assert facts(browser.open(at(new[0])))["in place of"] == f"…{str(population.failed)[-8:]}"
    assert browser.send(before.form("Retry")).said == f"It was replayed before, as {new[0]}."
    assert recorded(connection) == [("job.replay", f"job:{population.failed}", "again", True)]


@pytest.mark.parametrize(
    ("word", "scope"), [("cancel", "enqueue"), ("retry", "enqueue"), ("run-next", "operate"), ("release", "operate")]
)
def test_each_change_asks_for_its_scope_and_for_proof(
    sign_in: SignIn, connection: Connection, population: Population, word: str, scope: str
):
    job = {"cancel": population.bobs, "retry": population.failed}.get(word, population.scheduled)
    before = jobs.job(connection, job)
    other = sign_in("read", "operate" if scope == "enqueue" else "enqueue")
    page = other.open(at(job))
    assert f"{at(job)}/{word}" not in [form.element.attributes["action"] for form in page.forms]
    proof = page.form("Sign out").fields["proof"]
    assert other.post(f"{at(job)}/{word}", {"proof": proof}).status_code == 403
    allowed = sign_in("read", scope)  # pyright: ignore[reportArgumentType]
    assert allowed.post(f"{at(job)}/{word}", {"proof": proof}).status_code == 403
    own = allowed.open(at(job)).form("Sign out").fields["proof"]
    assert allowed.post(f"{at(job)}/{word}", {"proof": own}, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert jobs.job(connection, job) == before
    assert recorded(connection) == []
    assert allowed.post(f"{at(job)}/{word}", {"proof": own}).status_code == 303
    assert len(recorded(connection)) == 1


def test_what_is_refused_is_a_page_that_says_so(sign_in: SignIn, population: Population, connection: Connection):
    browser = sign_in("read", "enqueue", "operate")
    form = browser.open(at(population.bobs)).form("Cancel")
    connection.execute("SELECT cancel_generation(%s)", [population.bobs])
    browser.send(form)
    assert browser.send(browser.open(at(population.failed)).form("Retry")).status == 200
    proof = browser.open("/dashboard/jobs").form("Sign out").fields["proof"]

    def refused(job: UUID, word: str) -> tuple[int, str | None]:
        answer = browser.post(f"{at(job)}/{word}", {"proof": proof})
        return answer.status_code, Page(answer).problem

    assert refused(population.completed, "cancel") == (409, "job_is_final")
    assert refused(population.completed, "retry") == (409, "job_not_replayable")
    assert refused(population.completed, "run-next") == (409, "job_not_waiting")
    assert refused(population.completed, "release") == (409, "job_not_releasable")
    assert refused(uuid4(), "cancel") == (404, "job_not_found")
    assert browser.open(at(uuid4())).problem == "job_not_found"
    assert browser.open(at("yesterday")).status == 422


def test_what_it_was_made_from(sign_in: SignIn, connection: Connection):
    jobs.offer_local(connection)
    jobs.grant(connection)
    upload = upload_key("ada", uuid4(), "image/png")
    payload = {"user_image": {"key": upload}, "cloth_image": {"url": "https://shop.test/coat.png"}}
    job = jobs.enqueue(connection, kind="image_conversion", payload=payload)
    page = sign_in("read").open(at(job))
    shown = [image.attributes["src"] for image in page.tree.one("div", class_="inputs").all("img")]
    assert shown == [f"{at(job)}/inputs/0"]
    assert "https://shop.test/coat.png" in page.text
    assert "https://shop.test/coat.png" not in page.links.values()
