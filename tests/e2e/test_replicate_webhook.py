"""Replicate's webhooks and whole workers: a hint ends the wait at once, wherever it arrives, and decides nothing.

A worker whose webhooks are configured looks for the first time after a quarter of ``REPLICATE_POLL_INTERVAL``, here 15
seconds. So a prediction that was looked at once was looked at because of a hint, or the hint came to nothing; the event
``call.noticed`` tells which. Predictions end when the test says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

import httpx
import pytest

from generation_worker.db.ledger import find_violations
from tests.canaries.values import REPLICATE_WEBHOOK_NEXT
from tests.e2e.conftest import StartWorker
from tests.e2e.test_replicate_worker import all_done, ask, remembered
from tests.e2e.test_worker_process import free_port
from tests.simulators.replicate import Made, ReplicateSimulator
from tests.simulators.replicate_hooks import SECRET
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import grant, job
from tests.support.waiting import wait_until

Environment = dict[str, str]
PATH = "/worker/providers/replicate/webhook"
NEXT_SECRET = REPLICATE_WEBHOOK_NEXT
"""Secrets are being exchanged."""


@pytest.fixture
def replicate() -> ReplicateSimulator:
    return ReplicateSimulator()


@pytest.fixture
def environment(app: Connection, replicate: ReplicateSimulator) -> Iterator[Environment]:
    """Of a worker that hears of what it has begun."""
    app.execute("SELECT offer_providers(ARRAY['replicate'])")
    grant(app)
    with SimulatorServer([replicate]) as server:
        yield {
            **server.environment(),
            **hears_on(port := free_port()),
            "REPLICATE_WEBHOOK_URL": f"http://127.0.0.1:{port}",
            "REPLICATE_POLL_INTERVAL": "60s",
            "LEASE_DURATION": "2s",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


def hears_on(port: int) -> Environment:
    return {"PORT": str(port), "HEALTH_HOST": "127.0.0.1", "REPLICATE_WEBHOOK_SECRET": f"{NEXT_SECRET},{SECRET}"}


def another(environment: Mapping[str, str]) -> Environment:
    """A worker that the webhooks of ``environment`` do not go to, and that can make nothing at Replicate itself."""
    port = free_port()
    return {
        name: value
        for name, value in {
            **environment,
            **hears_on(port),
            "REPLICATE_WEBHOOK_URL": f"http://127.0.0.1:{port}",
        }.items()
        if name != "REPLICATE_API_TOKEN"
    }


def looks(replicate: ReplicateSimulator) -> dict[str, int]:
    """How often each prediction was looked at, by its prompt."""
    paths = [request.path for request in replicate.asked("look")]
    return {made.prompt: paths.count(f"/v1/predictions/{made.id}") for made in predictions(replicate)}


def predictions(replicate: ReplicateSimulator) -> list[Made]:
    return list(replicate.made.values())


def assert_made_once(app: Connection, made: list[UUID], replicate: ReplicateSimulator) -> None:
    assert [job(app, each)["status"] for each in made] == ["completed"] * len(made)
    assert set(replicate.creations().values()) == {1}
    assert find_violations(queries_on(app), max_paid_calls=1) == []


def begin(app: Connection, number: int) -> None:
    wait_until(lambda: remembered(app) == number, "the ids are kept")


def test_a_hint_ends_the_wait_one_prediction_at_a_time(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    made = ask(app, *(f"number {number} sim:never" for number in range(3)))
    worker = start_worker(**environment)
    begin(app, 3)
    for number, prediction in enumerate(predictions(replicate)):
        prediction.end()
        worker.wait_for("call.noticed", number + 1)
    wait_until(lambda: all_done(app), "all jobs are done")
    assert set(looks(replicate).values()) == {1}
    assert_made_once(app, made, replicate)
    assert {delivery.status for delivery in replicate.hooks.deliveries} == {204}


def test_a_hint_that_overtakes_the_answer_to_the_request_is_not_lost(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    made = ask(app, "a kite hook:early")
    worker = start_worker("--until-empty", **environment)
    assert worker.exit_status() == 0
    assert len(worker.events("call.noticed")) == 1
    assert set(looks(replicate).values()) == {1}
    assert_made_once(app, made, replicate)


def test_a_hint_that_comes_twice_counts_once(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    made = ask(app, "a kite sim:never hook:twice")
    worker = start_worker(**environment)
    begin(app, 1)
    predictions(replicate)[0].end()
    wait_until(lambda: all_done(app), "the job is done")
    wait_until(lambda: len(replicate.hooks.deliveries) == 2, "it comes a second time")
    assert [delivery.status for delivery in replicate.hooks.deliveries] == [204, 204]
    assert len(worker.events("call.noticed")) == 1
    assert looks(replicate) == {"a kite sim:never hook:twice": 1}
    assert_made_once(app, made, replicate)


@pytest.mark.parametrize("manner", ["never", "forged", "stale", "late"])
def test_without_a_hint_in_time_polling_ends_the_wait(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator, manner: str
):
    made = ask(app, f"a kite hook:{manner}")
    worker = start_worker(**environment | {"REPLICATE_POLL_INTERVAL": "1s"})
    wait_until(lambda: all_done(app), "the job is done")
    assert worker.events("call.noticed") == []
    assert_made_once(app, made, replicate)
    if manner != "never":
        expected = 204 if manner == "late" else 401
        wait_until(lambda: len(replicate.hooks.deliveries) > 0, "the webhook comes")
        assert {delivery.status for delivery in replicate.hooks.deliveries} == {expected}
        worker.wait_for("webhook.received" if expected == 204 else "webhook.refused")


def test_a_hint_that_is_not_true_leads_to_one_look_and_nothing_else(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    [made] = ask(app, "a kite sim:never hook:premature")
    worker = start_worker(**environment)
    worker.wait_for("call.noticed")
    wait_until(lambda: looks(replicate) == {"a kite sim:never hook:premature": 1}, "it is looked at")
    assert job(app, made)["status"] == "processing"
    app.execute("SELECT cancel_generation(%s)", (made,))
    wait_until(lambda: job(app, made)["status"] == "cancelled", "the job is cancelled")
    assert set(looks(replicate).values()) == {1}
    assert len(worker.events("call.noticed")) == 1


def test_a_hint_to_another_worker_reaches_the_one_that_waits(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    door = another(environment)
    receiver = start_worker(**door)
    holder = start_worker(**environment | {"REPLICATE_WEBHOOK_URL": door["REPLICATE_WEBHOOK_URL"]})
    holder.wait_for("listen.live")
    receiver.wait_for("worker.started")
    made = ask(app, "a kite sim:never")
    begin(app, 1)
    predictions(replicate)[0].end()
    wait_until(lambda: all_done(app), "the job is done")
    assert_made_once(app, made, replicate)
    assert len(holder.events("call.noticed")) == len(receiver.events("webhook.received")) == 1
    assert receiver.events("webhook.received")[0]["woken"] is False
    assert holder.events("webhook.received") == receiver.events("call.noticed") == []
    assert set(looks(replicate).values()) == {1}


def test_a_worker_that_does_not_listen_hears_what_comes_to_itself(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    made = ask(app, "a kite sim:never")
    worker = start_worker(**environment | {"LISTEN_NOTIFY": "false"})
    begin(app, 1)
    predictions(replicate)[0].end()
    wait_until(lambda: all_done(app), "the job is done")
    assert len(worker.events("call.noticed")) == 1
    assert_made_once(app, made, replicate)


def test_a_worker_that_does_not_listen_is_not_told_by_others_and_ends_by_polling(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    door = another(environment)
    receiver = start_worker(**door)
    receiver.wait_for("worker.started")
    deaf = {"REPLICATE_WEBHOOK_URL": door["REPLICATE_WEBHOOK_URL"], "LISTEN_NOTIFY": "false"}
    holder = start_worker(**environment | deaf | {"REPLICATE_POLL_INTERVAL": "2s"})
    made = ask(app, "a kite sim:never")
    begin(app, 1)
    predictions(replicate)[0].end()
    receiver.wait_for("webhook.received")
    wait_until(lambda: all_done(app), "the job is done")
    assert holder.events("call.noticed") == []
    assert_made_once(app, made, replicate)


def test_after_a_crash_whoever_waits_now_gets_the_hint(
    app: Connection, start_worker: StartWorker, environment: Environment, replicate: ReplicateSimulator
):
    made = ask(app, "a kite sim:never")
    first = start_worker(**environment)
    begin(app, 1)
    first.kill()
    second = start_worker(**environment)
    wait_until(lambda: looks(replicate) == {"a kite sim:never": 1}, "the prediction is taken up, and looked at")
    predictions(replicate)[0].end()
    wait_until(lambda: all_done(app), "the job is done")
    assert len(second.events("call.resumed")) == len(second.events("call.noticed")) == 1
    assert looks(replicate) == {"a kite sim:never": 2}
    assert_made_once(app, made, replicate)


def test_the_path_is_there_only_with_a_secret(start_worker: StartWorker, app: Connection):
    port = free_port()
    worker = start_worker(WORKER_ENABLE_HEALTH_CHECK="true", PORT=str(port), HEALTH_HOST="127.0.0.1")
    worker.wait_for("worker.started")
    assert httpx.post(f"http://127.0.0.1:{port}{PATH}").status_code == 404


def test_health_need_not_be_served_for_webhooks_to_be(start_worker: StartWorker, environment: Environment):
    worker = start_worker(**environment)
    worker.wait_for("worker.started")
    at = environment["REPLICATE_WEBHOOK_URL"]
    assert httpx.post(f"{at}{PATH}", trust_env=False).status_code == 401
    assert httpx.get(f"{at}/health", trust_env=False).status_code == 404
