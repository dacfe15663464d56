"""The page of a batch."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.support import jobs
from tests.support.database import Connection
from tests.web.pages.conftest import SignIn
from tests.web.pages.test_jobs import listed


def test_its_jobs_and_pictures(sign_in: SignIn, connection: Connection):
    jobs.offer_local(connection)
    batch = uuid4()
    made = [
        jobs.put_job(connection, status, batch_id=batch, batch_index=n)
        for n, status in enumerate(["completed", "failed", "pending"])
    ]
    browser = sign_in("read", "operate")
    page = browser.open(f"/dashboard/batches/{batch}")
    assert listed(page) == [str(job) for job in made]
    assert "3 jobs of ada" in page.text
    assert "still at work" in page.text
    [picture] = page.tree.one("div", class_="thumbs").all("img")
    assert picture.attributes["src"] == f"/dashboard/jobs/{made[0]}/images/0"
    link = urlsplit(page.links["Cancel many…"])
    assert (link.path, parse_qs(link.query)) == ("/dashboard/many/cancel", {"batch_id": [str(batch)]})
    counted = browser.open(page.links["Retry many…"])
    assert counted.tree.all("h2")[-1].text == "1 job would be enqueued again"
    assert browser.open(f"/dashboard/jobs/{made[1]}").links[str(batch)] == f"/dashboard/batches/{batch}"
    assert "Cancel many…" not in sign_in("read").open(f"/dashboard/batches/{batch}").links


def test_there_is_none(sign_in: SignIn):
    page = sign_in("read").open(f"/dashboard/batches/{uuid4()}")
    assert (page.status, page.problem) == (404, "batch_not_found")
