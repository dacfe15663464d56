"""Jobs whose inputs are URLs: a worker process that may ask loopback, and one that may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.fetch.pages import image, in_turn
from tests.fetch.world import Site
from tests.simulators.pictures import picture
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import balance, enqueue, grant, job


@pytest.fixture
def site() -> Site:
    site = Site()
    site.pages = {"/ada.png": image(picture("ada")), "/coat.png": image(picture("a coat"))}
    return site


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    with SimulatorServer([site]) as server:
        yield server.url


def conversion(address: str) -> dict[str, object]:
    return {"user_image": {"url": f"{address}/ada.png"}, "cloth_image": {"url": f"{address}/coat.png?sig=topsecret"}}


def test_inputs_that_jobs_share_are_fetched_once(
    app: Connection, start_worker: StartWorker, site: Site, address: str
) -> None:
    grant(app)
    jobs = [enqueue(app, kind="image_conversion", payload=conversion(address)) for _ in range(3)]
    worker = start_worker("--until-empty", FETCH_ALLOW_PRIVATE="true")
    assert worker.exit_status() == 0
    assert [job(app, one)["status"] for one in jobs] == ["completed"] * 3
    assert sorted(asked.path for asked in site.asked) == ["/ada.png", "/coat.png?sig=topsecret"]
    assert any("FETCH_ALLOW_PRIVATE is on" in line["notice"] for line in worker.events("settings.notice"))
    assert "topsecret" not in worker.said()
    assert find_violations(queries_on(app), max_paid_calls=2) == []


def test_a_url_that_leads_inside_fails_the_job_and_gives_the_credits_back(
    app: Connection, start_worker: StartWorker, site: Site, address: str
) -> None:
    """SQL lets it in; the worker has the last word."""
    before = grant(app)
    jobs = [
        enqueue(app, kind="image_conversion", payload=conversion(address)),
        enqueue(app, kind="image_conversion", payload=conversion("https://127.0.0.1")),
        enqueue(app, kind="image_conversion", payload=conversion("https://localhost.")),
    ]
    worker = start_worker("--until-empty")
    assert worker.exit_status() == 0
    ended = [job(app, one) for one in jobs]
    assert {(one["status"], one["error_code"], one["attempt"]) for one in ended} == {("failed", "input_rejected", 1)}
    assert [one["error_message"] for one in ended] == [
        "An input's url must begin with https://.",
        "An input's url must name a public host: 127.0.0.1 belongs to this machine.",
        "An input's url must name a public host, which localhost is not.",
    ]
    assert site.asked == []
    assert balance(app) == before
    assert app.execute("SELECT count(*) FROM provider_call").fetchone() == (0,)
    assert "topsecret" not in worker.said()


def test_an_input_that_is_not_there_yet_is_tried_again(
    app: Connection, start_worker: StartWorker, site: Site, address: str
) -> None:
    site.pages["/ada.png"] = in_turn(image(status=503), image(picture("ada")))
    grant(app)
    made = enqueue(app, kind="image_conversion", payload=conversion(address))
    worker = start_worker(FETCH_ALLOW_PRIVATE="true")
    worker.wait_for("attempt.settled", 2)
    worker.terminate()
    assert worker.exit_status() == 0
    done = job(app, made)
    assert (done["status"], done["attempt"]) == ("completed", 2)
