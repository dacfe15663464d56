"""Jobs that Replicate makes, by worker processes that are killed: what is begun is paid for once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, grant, job
from tests.support.waiting import wait_until

JOBS = 4
QUICK = {"LEASE_DURATION": "2s", "MAX_CRASHES": "10", "WORKER_MAX_RETRIES": "10", "WORKER_CONCURRENCY": str(JOBS)}


@pytest.fixture
def replicate() -> ReplicateSimulator:
    return ReplicateSimulator()


@pytest.fixture
def environment(app: Connection, replicate: ReplicateSimulator) -> Iterator[dict[str, str]]:
    app.execute("SELECT offer_providers(ARRAY['replicate'])")
    grant(app)
    with SimulatorServer([replicate]) as server:
        yield {**server.environment(), **QUICK, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def ask(app: Connection, *prompts: str) -> list[UUID]:
    return [enqueue(app, provider="replicate", payload={"prompt": prompt}) for prompt in prompts]


def remembered(app: Connection) -> int:
    row = app.execute("SELECT count(*) FROM provider_call WHERE resumable").fetchone()
    return row[0] if row else 0


def all_done(app: Connection) -> bool:
    return app.execute("SELECT FROM generation_job WHERE finished_at IS NULL").fetchone() is None


def assert_made_once(app: Connection, jobs: list[UUID], replicate: ReplicateSimulator, storage: Path) -> None:
    rows = [job(app, each) for each in jobs]
    assert [row["status"] for row in rows] == ["completed"] * len(jobs)
    assert all((storage / row["result"]["images"][0]["key"]).is_file() for row in rows)
    assert set(replicate.creations().values()) == {1}
    assert app.execute("SELECT count(*), bool_and(spent) FROM provider_call").fetchone() == (len(jobs), True)
    assert find_violations(queries_on(app), max_paid_calls=1) == []


def test_a_picture_from_replicate(
    app: Connection,
    start_worker: StartWorker,
    environment: dict[str, str],
    replicate: ReplicateSimulator,
    storage: Path,
):
    made = ask(app, "a kite")
    assert start_worker("--until-empty", **environment).exit_status() == 0
    assert_made_once(app, made, replicate, storage)
    assert job(app, made[0])["result"]["model"] == "google/nano-banana"


def test_a_worker_killed_right_after_the_id_is_kept_costs_no_second_prediction(
    app: Connection,
    start_worker: StartWorker,
    environment: dict[str, str],
    replicate: ReplicateSimulator,
    storage: Path,
):
    made = ask(app, *(f"number {n} sim:slow=4" for n in range(JOBS)))
    worker = start_worker(**environment)
    wait_until(lambda: remembered(app) == JOBS, "the ids are kept")
    worker.kill()
    worker = start_worker(**environment)
    wait_until(lambda: all_done(app), "all jobs are done")
    assert len(worker.events("call.resumed")) == JOBS
    assert_made_once(app, made, replicate, storage)
    assert {job(app, each)["crashes"] for each in made} == {1}


def test_a_worker_killed_again_and_again_costs_no_second_prediction(
    app: Connection,
    start_worker: StartWorker,
    environment: dict[str, str],
    replicate: ReplicateSimulator,
    storage: Path,
):
    """At random moments of waiting, fetching, converting, storing and settling."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    made = ask(app, *(f"number {n} sim:slow={chance.uniform(0.5, 12):.2f}" for n in range(JOBS)))
    worker = start_worker(**environment)
    wait_until(lambda: remembered(app) == JOBS, "the ids are kept")
    for _ in range(3):
        time.sleep(chance.uniform(0, 1.5))
        worker.kill()
        worker = start_worker(**environment)
        worker.wait_for("worker.started")
        time.sleep(chance.uniform(0, 3))
    wait_until(lambda: all_done(app), "all jobs are done")
    assert_made_once(app, made, replicate, storage)


def test_a_prediction_of_a_cancelled_job_is_cancelled(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], replicate: ReplicateSimulator
):
    [made] = ask(app, "a kite sim:never")
    worker = start_worker(**environment)
    wait_until(lambda: remembered(app) == 1, "the id is kept")
    app.execute("SELECT cancel_generation(%s)", (made,))
    wait_until(lambda: job(app, made)["status"] == "cancelled", "the job is cancelled")
    assert [each.cancelled for each in replicate.made.values()] == [True]
    worker.terminate()
    assert worker.exit_status() == 0


def test_what_is_lost_at_replicate_is_made_anew_within_the_bound(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], replicate: ReplicateSimulator
):
    made = ask(app, "a kite sim:slow=3")
    worker = start_worker(**environment)
    wait_until(lambda: remembered(app) == 1, "the id is kept")
    worker.kill()
    with_nothing = replicate.made.copy()
    replicate.made.clear()
    start_worker(**environment)
    wait_until(lambda: all_done(app), "the job is done")
    assert job(app, made[0])["status"] == "completed"
    assert len(replicate.made) == len(with_nothing) == 1
    columns = "number, spent, error_code, resumable"
    calls = app.execute(f"SELECT {columns} FROM provider_call ORDER BY number".encode()).fetchall()
    assert calls == [(1, True, "call_lost", False), (2, True, None, True)]
