"""The gate of a provider's key, as the provider sees it: worker processes, and a server that counts what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

import pytest

from generation_worker.db.ledger import find_violations
from tests.canaries.values import GEMINI_KEYS
from tests.e2e.conftest import StartWorker
from tests.simulators import gemini_bodies as bodies
from tests.simulators.gemini import KEY, GeminiSimulator
from tests.simulators.replies import json_reply
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, grant, job
from tests.support.waiting import wait_until

PROXIES = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture
def gemini() -> GeminiSimulator:
    return GeminiSimulator()


@pytest.fixture
def environment(app: Connection, gemini: GeminiSimulator) -> Iterator[dict[str, str]]:
    app.execute("SELECT offer_providers(ARRAY['gemini', 'local'])")
    grant(app, amount=1000)
    with SimulatorServer([gemini]) as server:
        yield {**server.environment(), **PROXIES, "LISTEN_NOTIFY": "false"}


def ask(app: Connection, number: int = 1, prompt: str = "a kite", **request: str) -> list[UUID]:
    return [enqueue(app, provider="gemini", payload={"prompt": prompt}, **request) for _ in range(number)]


def unfinished(app: Connection) -> int:
    row = app.execute("SELECT count(*) FROM generation_job WHERE finished_at IS NULL").fetchone()
    assert row is not None
    return row[0]


def test_four_workers_with_one_key_stay_within_its_limit_and_use_it(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], gemini: GeminiSimulator
):
    limit = 120
    gemini.limit = limit
    ask(app, limit + 30)
    limited = {"GEMINI_RPM": str(limit), "WORKER_CONCURRENCY": "10"}
    workers = [start_worker("--until-empty", **environment, **limited) for _ in range(4)]
    for worker in workers:
        assert worker.exit_status(within=150) == 0
    arrivals = gemini.arrivals[KEY]
    assert len(arrivals.times()) == limit + 30  # none came too early, none twice
    assert arrivals.busiest_window() == limit  # all that the minute allows
    assert app.execute("SELECT sum(waits), count(DISTINCT status) FROM generation_job").fetchone() == (0, 1)
    assert find_violations(queries_on(app), max_paid_calls=1) == []


def test_several_keys_in_one_worker_add_up(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], gemini: GeminiSimulator
):
    ask(app, 10)
    keys = {"GEMINI_API_KEY": ",".join(GEMINI_KEYS), "GEMINI_RPM": "5"}
    assert start_worker("--until-empty", **(environment | keys)).exit_status() == 0
    assert {key: len(arrivals.times()) for key, arrivals in gemini.arrivals.items()} == dict.fromkeys(GEMINI_KEYS, 5)


def test_a_429_keeps_every_worker_away_for_as_long_as_it_says(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], gemini: GeminiSimulator
):
    gemini.script(json_reply(bodies.rate_limited("4s"), 429))
    jobs = ask(app, 8)
    one = {"WORKER_CONCURRENCY": "1"}
    workers = [start_worker(**environment, **one) for _ in range(2)]
    wait_until(lambda: unfinished(app) == 0, "all images are made")
    for worker in workers:
        worker.terminate()
    times = gemini.arrivals[KEY].times()
    assert max(later - earlier for earlier, later in pairwise(times)) > 3.9
    rows = [job(app, each) for each in jobs]
    assert sorted(row["waits"] for row in rows)[-1] >= 1
    assert {(row["status"], row["attempt"]) for row in rows} == {("completed", 1)}


def test_a_key_that_is_refused_costs_no_attempt_and_works_again_when_it_is_mended(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], gemini: GeminiSimulator
):
    gemini.script(json_reply(bodies.error(403, "PERMISSION_DENIED", "The key is blocked."), 403))
    [refused] = ask(app)
    start_worker(**environment)
    wait_until(lambda: job(app, refused)["status"] == "rate_limited", "the job waits")
    row = job(app, refused)
    assert (row["attempt"], row["waits"], row["error_code"]) == (0, 1, "provider_refused")
    gate = app.execute("SELECT breaker, opened_for, open_until > now() FROM provider_gate").fetchone()
    assert gate is not None
    assert gate[0] == "open"
    assert "The key is blocked." in gate[1]
    assert gate[2] is True
    [behind] = ask(app)
    app.execute("UPDATE provider_gate SET open_until = now()")  # what the runbook says
    wait_until(lambda: job(app, behind)["status"] == "completed", "the probe is made")
    assert app.execute("SELECT breaker FROM provider_gate").fetchone() == ("closed",)
    app.execute("UPDATE generation_job SET run_at = now() WHERE status = 'rate_limited'")
    wait_until(lambda: job(app, refused)["status"] == "completed", "the first job is made")


def test_a_job_goes_to_its_second_provider_while_the_first_is_out_of_order(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], gemini: GeminiSimulator
):
    gemini.script(json_reply(bodies.error(401, "UNAUTHENTICATED", "The key is gone."), 401))
    [first] = ask(app)
    start_worker(LOCAL_PROVIDER="true", **environment)
    wait_until(lambda: job(app, first)["status"] == "rate_limited", "the breaker is open")
    [second] = ask(app, fallback_provider="local")
    wait_until(lambda: job(app, second)["status"] == "completed", "the second provider makes it")
    row = job(app, second)
    assert (row["provider"], row["fallback_provider"]) == ("local", "gemini")
    assert row["result"]["provider"] == "local"
    assert job(app, first)["status"] == "rate_limited"
    assert len(gemini.requests) == 1
