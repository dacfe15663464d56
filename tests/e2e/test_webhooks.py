"""Worker processes that tell an app's endpoint on loopback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.simulators.replies import hang, raw_reply
from tests.simulators.server import Exchange, SimulatorServer
from tests.support.database import Connection, queries_on
from tests.support.jobs import enqueue, enqueue_all, grant, job
from tests.support.processes import WorkerProcess
from tests.support.protocol import cancel
from tests.support.receiver import TAKEN, Receiver
from tests.support.waiting import wait_until
from tests.support.webhooks import SECRET, endpoint, outbox, put_endpoint

JOBS = ["job.completed", "job.failed", "job.cancelled"]
PRIVATE = {"WEBHOOK_ALLOW_PRIVATE": "true"}


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def address(receiver: Receiver) -> Iterator[str]:
    with SimulatorServer([receiver]) as server:
        yield server.url


def test_the_app_hears_how_each_job_ended_before_the_worker_leaves(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    put_endpoint(app, url=f"{address}/hook")
    batch = enqueue_all(app, count=3)
    cancelled = enqueue(app)
    cancel(app, cancelled)
    failed = enqueue(
        app, kind="image_processing", payload={"image": {"key": "none"}, "operations": [{"type": "thumbnail"}]}
    )
    worker = start_worker("--until-empty", **PRIVATE)
    assert worker.exit_status() == 0
    heard = receiver.at()
    ends = {message.data["id"]: message.type for message in heard if message.type in JOBS}
    assert ends == {str(row["id"]): "job.completed" for row in batch} | {
        str(cancelled): "job.cancelled",
        str(failed): "job.failed",
    }
    assert Counter(message.type for message in heard) == {
        "job.completed": 3, "job.cancelled": 1, "job.failed": 1, "batch.finished": 1,
    }  # fmt: skip
    completed = {message.data["id"]: message.data["result"] for message in heard if message.type == "job.completed"}
    assert completed == {str(row["id"]): job(app, row["id"])["result"] for row in batch}
    assert len({message.id for message in heard}) == len(heard)
    assert {row["status"] for row in outbox(app)} == {"delivered"}
    assert SECRET not in worker.said()
    assert address not in worker.said()
    assert find_violations(queries_on(app), max_paid_calls=2) == []


def test_killed_before_it_could_write_that_it_was_heard_a_worker_is_followed_by_one_that_says_the_same(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    put_endpoint(app, url=f"{address}/hook", events=["job.completed"])
    started: list[WorkerProcess] = []

    def kill_and_take(exchange: Exchange) -> None:
        started[0].kill()
        TAKEN(exchange)

    receiver.replies["/hook"] = kill_and_take
    enqueue(app)
    started.append(start_worker(**PRIVATE))
    wait_until(lambda: len(receiver.at()) == 1, "the endpoint is told")
    started[0].exit_status()
    receiver.replies["/hook"] = TAKEN
    assert [row["status"] for row in outbox(app)] == ["pending"]
    app.execute("UPDATE webhook_delivery SET next_at = now()")  # its lease is over
    start_worker(**PRIVATE)
    wait_until(lambda: outbox(app)[0]["status"] == "delivered", "the next worker tells")
    first, second = receiver.at()
    assert first == second
    assert outbox(app)[0]["attempts"] == 2


def test_an_endpoint_that_hangs_costs_neither_jobs_nor_another_endpoint_anything(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    receiver.replies["/dead"] = hang
    dead = put_endpoint(app, url=f"{address}/dead", events=JOBS)
    put_endpoint(app, url=f"{address}/hook", events=JOBS)
    jobs = [enqueue(app) for _ in range(12)]
    start_worker(WEBHOOK_TIMEOUT="60s", **PRIVATE)
    wait_until(lambda: len(receiver.at()) == 12, "the other endpoint is told of all")
    assert {job(app, one)["status"] for one in jobs} == {"completed"}
    held = [row for row in outbox(app) if row["endpoint_id"] == dead]
    assert {row["status"] for row in held} == {"pending"}
    assert 1 <= len(receiver.at("/dead")) <= 4


def test_after_a_failure_it_is_told_the_same_again(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    told = put_endpoint(app, url=f"{address}/hook", events=JOBS)
    receiver.replies["/hook"] = raw_reply(b"a secret of the app", 500)
    enqueue(app)
    worker = start_worker(**PRIVATE)
    wait_until(lambda: outbox(app) != [] and outbox(app)[0]["last_status"] == 500, "the failure is written")
    assert "secret of the app" not in json.dumps(outbox(app), default=str) + worker.said()
    assert endpoint(app, told)["failing_since"] is not None
    receiver.replies["/hook"] = TAKEN
    app.execute("UPDATE webhook_delivery SET next_at = now()")
    wait_until(lambda: outbox(app)[0]["status"] == "delivered", "it is told again")
    first, second = receiver.at()
    assert first == second
    assert endpoint(app, told)["failing_since"] is None


def test_an_endpoint_that_is_gone_is_left_alone_and_the_worker_says_so(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    receiver.replies["/hook"] = raw_reply(b"", 410)
    told = put_endpoint(app, url=f"{address}/hook", events=JOBS)
    enqueue(app)
    worker = start_worker(**PRIVATE)
    worker.wait_for("endpoint.disabled")
    assert endpoint(app, told)["disabled_for"] == "it is gone: it answered with status 410"
    one = enqueue(app)
    wait_until(lambda: job(app, one)["status"] == "completed", "the next job is done")
    assert len(outbox(app)) == 1
    assert len(receiver.at()) == 1


def test_endpoints_inside_are_not_asked_unless_that_is_wanted(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    put_endpoint(app, url=f"{address}/hook", events=JOBS)
    put_endpoint(app, url="https://localhost./hook", events=JOBS)
    enqueue(app)
    assert start_worker("--until-empty").exit_status() == 0
    assert sorted(row["last_error"] for row in outbox(app)) == [
        "its url must begin with https://", "its url must name a public host, which localhost is not",
    ]  # fmt: skip
    assert receiver.at() == []


def test_two_workers_tell_of_a_batch_once_and_of_each_job_once(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    grant(app)
    put_endpoint(app, url=f"{address}/hook")
    for _ in range(6):
        enqueue_all(app, count=4)
    for _ in range(2):
        start_worker(**PRIVATE)
    wait_until(
        lambda: sum(message.type == "batch.finished" for message in receiver.at()) == 6, "all batches are told of"
    )
    wait_until(lambda: {row["status"] for row in outbox(app)} == {"delivered"}, "all is delivered")
    heard = receiver.at()
    assert len({message.id for message in heard}) == len(heard) == 30
    assert all(message.data["completed"] == 4 for message in heard if message.type == "batch.finished")


def test_an_endpoint_that_is_added_while_a_worker_runs_is_told(
    app: Connection, start_worker: StartWorker, receiver: Receiver, address: str
) -> None:
    """And before that, the courier asks the database nothing."""
    from generation_worker.db.webhooks import create_endpoint, rotate_secret, send_test  # noqa: PLC0415

    worker = start_worker(**PRIVATE)
    worker.wait_for("worker.started")
    worker.wait_for("listen.live")
    made = create_endpoint(app, f"{address}/hook", allow_private=True)
    receiver.secrets = (made.secret,)
    send_test(app, made.id)
    wait_until(lambda: [message.type for message in receiver.at()] == ["endpoint.test"], "the test arrives")
    receiver.secrets = (made.secret, rotate_secret(app, made.id))
    send_test(app, made.id)
    wait_until(lambda: len(receiver.at()) == 2, "both secrets verify")
