"""The worker as a process: whatever happens to it, every job comes to its end and every credit is where it belongs."""

from __future__ import annotations

import hashlib
import random
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from generation_worker.db.enqueue import EnqueueRequest, enqueue_many
from generation_worker.db.ledger import find_violations
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import enqueue, grant, job
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until

USERS = [f"user-{n}" for n in range(10)]
CREDITS = 200
MAX_PAID_CALLS = 2


def test_every_job_ends_and_no_credit_is_lost_though_the_worker_is_killed_three_times(
    app: Connection, start_worker: StartWorker, storage: Path
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    two_hundred_jobs(app, chance)
    settings = {"LEASE_DURATION": "2s", "LOCAL_DELAY": f"{chance.randint(50, 150)}ms", "WORKER_CONCURRENCY": "8"}
    for moment in sorted(chance.sample(range(5, 150), 3)):
        worker = start_worker(**settings)
        wait_until_done(app, moment)
        worker.kill()
    worker = start_worker(**settings)
    wait_until_done(app, 200)
    worker.terminate()
    assert worker.exit_status() == 0

    assert crashed(app) > 0, "no job was running at any of three kills"
    assert_that_money_is_right(app)
    assert_that_images_are_stored(app, storage)


def test_sigterm_finishes_what_runs_and_leaves_the_rest(app: Connection, start_worker: StartWorker):
    grant(app)
    jobs = [enqueue(app) for _ in range(5)]
    worker = start_worker(WORKER_CONCURRENCY="2", LOCAL_DELAY="1s")
    wait_until(lambda: statuses(app).count("processing") == 2, "two jobs run")
    worker.terminate()
    assert worker.exit_status() == 0
    assert [job(app, each)["status"] for each in jobs] == ["completed"] * 2 + ["pending"] * 3
    assert app.execute("SELECT count(*) FROM worker_process").fetchone() == (0,)
    assert violations(app) == []


def test_a_second_sigterm_gives_back_what_runs_without_using_up_an_attempt(app: Connection, start_worker: StartWorker):
    grant(app)
    jobs = [enqueue(app) for _ in range(3)]
    worker = start_worker(WORKER_CONCURRENCY="2", LOCAL_DELAY="10m")
    wait_until(lambda: statuses(app).count("processing") == 2, "two jobs run")
    worker.terminate()
    worker.wait_for("worker.draining")
    worker.terminate()
    assert worker.exit_status() == 0
    assert [(job(app, each)["status"], job(app, each)["attempt"]) for each in jobs] == [("pending", 0)] * 3
    assert app.execute("SELECT outcome FROM job_attempt").fetchall() == [("released",)] * 2
    assert violations(app) == []


def test_until_empty_ends_when_nothing_can_be_done_now(app: Connection, start_worker: StartWorker):
    grant(app)
    later = enqueue(app, run_at=datetime.now(UTC) + timedelta(hours=1))
    jobs = [enqueue(app) for _ in range(5)]
    worker = start_worker("--until-empty", "--concurrency", "3")
    assert worker.exit_status() == 0
    assert [job(app, each)["status"] for each in [*jobs, later]] == ["completed"] * 5 + ["scheduled"]


def test_two_workers_share_the_queue(app: Connection, start_worker: StartWorker):
    grant(app)
    for name in ("one", "two"):
        start_worker(WORKER_ID=name, WORKER_CONCURRENCY="2", LOCAL_DELAY="200ms")
    wait_until(lambda: count(app, "SELECT count(*) FROM worker_process") == 2, "both have come")
    jobs = [enqueue(app) for _ in range(20)]
    wait_until(lambda: final(app) == len(jobs), "all jobs are done")
    shares = dict(app.execute("SELECT worker, count(*) FROM job_attempt GROUP BY worker").fetchall())
    assert set(shares) == {"one", "two"}
    assert sum(shares.values()) == len(jobs), "a job was done twice"
    assert violations(app) == []


def test_a_worker_with_a_stuck_thread_is_replaced_and_another_settles_the_job(
    app: Connection, start_worker: StartWorker
):
    grant(app)
    frozen = enqueue(app, payload={"prompt": "a frozen lake"})
    settings = {
        "LOCAL_FAULTS": "frozen=hang*1",
        "WORKER_JOB_TIMEOUT": "1s",
        "LEASE_DURATION": "2s",
        "WORKER_CONCURRENCY": "2",
        "MAX_STUCK_THREADS": "1",
        "IMAGE_TIMEOUT": "1s",
    }
    stuck = start_worker(**settings)
    assert stuck.exit_status() == 1
    assert stuck.events("thread.stuck")[0]["job"] == str(frozen)
    assert job(app, frozen)["status"] == "processing", "a job that hangs must not come back as if nothing had been"
    start_worker(**settings)
    wait_until(lambda: final(app) == 1, "the job is done")
    row = job(app, frozen)
    assert (row["status"], row["attempt"], row["crashes"]) == ("completed", 2, 1)
    assert violations(app) == []


def test_a_database_that_is_not_migrated_is_refused_with_the_remedy(empty_database: Database, tmp_path: Path):
    with WorkerProcess(tmp_path, empty_database.environment) as worker:
        assert worker.exit_status() == 2
        assert "generation-worker migrate" in worker.said()
        assert "Traceback" not in worker.said()


def test_health_answers_on_ipv4_and_ipv6(start_worker: StartWorker, app: Connection):
    port = free_port()
    worker = start_worker(WORKER_ENABLE_HEALTH_CHECK="true", PORT=str(port))
    worker.wait_for("worker.started")
    hosts = ["127.0.0.1", *(["[::1]"] if has_ipv6() else [])]
    for host in hosts:
        answer = httpx.get(f"http://{host}:{port}/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")


def test_a_port_in_use_is_refused_by_name(start_worker: StartWorker, app: Connection):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start_worker(WORKER_ENABLE_HEALTH_CHECK="true", PORT=str(port), HEALTH_HOST="127.0.0.1")
        assert worker.exit_status() == 2
    assert f"PORT: {port}" in worker.said()
    assert "Traceback" not in worker.said()


# What the tests do and look at ---------------------------------------------------------------------------------------


def two_hundred_jobs(app: Connection, chance: random.Random) -> None:
    """Of ten users, who pay what each job costs; some meet faults on their way."""
    app.execute("UPDATE fleet_setting SET value = 'true' WHERE name = 'caller_may_set_cost'")
    for user in USERS:
        grant(app, user, CREDITS)
    requests = [
        EnqueueRequest(
            kind="text_to_image",
            user_id=chance.choice(USERS),
            payload={"prompt": f"number {n}", "image_size": "512", "output": {"max_side": 128}},
            cost=chance.choice((0, 1, 2, 5)),
        )
        for n in range(200)
    ]
    enqueue_many(app, requests)


def assert_that_money_is_right(app: Connection) -> None:
    assert violations(app) == []
    balances = count(app, "SELECT sum(balance) FROM credit_account")
    spent = count(app, "SELECT sum(cost) FROM generation_job WHERE status = 'completed'")
    assert balances + spent == len(USERS) * CREDITS
    debits = "SELECT job_id FROM credit_entry WHERE kind = 'debit' GROUP BY job_id HAVING count(*) > 1"
    assert app.execute(debits).fetchall() == []
    paid = """
    SELECT job_id FROM provider_call WHERE spent IS DISTINCT FROM false GROUP BY job_id HAVING count(*) > %s
    """
    assert app.execute(paid, [MAX_PAID_CALLS]).fetchall() == []


def assert_that_images_are_stored(app: Connection, storage: Path) -> None:
    results = app.execute("SELECT result FROM generation_job WHERE status = 'completed'").fetchall()
    assert len(results) > 100
    for (result,) in results:
        [image] = result["images"]
        assert hashlib.sha256((storage / image["key"]).read_bytes()).hexdigest() == image["sha256"]
        assert (storage / image["thumbnail_key"]).exists()


def violations(app: Connection) -> list[Any]:
    return find_violations(queries_on(app), max_paid_calls=MAX_PAID_CALLS)


def statuses(app: Connection) -> list[str]:
    return [status for (status,) in app.execute("SELECT status FROM generation_job")]


def final(app: Connection) -> int:
    return count(app, "SELECT count(*) FROM generation_job WHERE finished_at IS NOT NULL")


def wait_until_done(app: Connection, number: int) -> None:
    """However long it takes, as long as jobs come to their end."""
    while (before := final(app)) < number:
        wait_until(lambda before=before: final(app) > before, f"more than {before} jobs are done")


def crashed(app: Connection) -> int:
    return count(app, "SELECT count(*) FROM job_attempt WHERE outcome = 'crashed'")


def count(app: Connection, query: str) -> int:
    row = app.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return probe.getsockname()[1]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
