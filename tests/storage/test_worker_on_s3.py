"""A worker whose images go to S3, as a process: what an outage costs, and what it must not cost."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest
import requests
from PIL import Image
from psycopg import sql

from generation_worker.db.ledger import find_violations
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket
from tests.simulators.s3.proxy import Proxy, Request, answer_lost, xml_error
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import LEASED, balance, enqueue, grant, job, offer_local, put_job
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until

THUMBNAIL = {"prompt": "a red kite over the sea", "output": {"thumbnail": 64}}


class StartWorker(Protocol):
    def __call__(self, *arguments: str, **settings: str) -> WorkerProcess: ...


@pytest.fixture
def start_worker(database: Database, behind_proxy: Bucket, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers whose way to S3 leads through the proxy."""
    s3 = {
        "S3_BUCKET": behind_proxy.name,
        "AWS_ACCESS_KEY_ID": behind_proxy.access_key_id,
        "AWS_SECRET_ACCESS_KEY": behind_proxy.secret_access_key,
        "S3_ENDPOINT_URL": str(behind_proxy.endpoint_url),
    }
    ours = {
        "POLL_INTERVAL_MS": "50",
        "IMAGE_CHILDREN": "1",
        "WORKER_ENABLE_HEALTH_CHECK": "false",
        "WORKER_ENABLE_METRICS": "false",
        "ENABLE_API": "false",
        "ENABLE_DASHBOARD": "false",
    }
    with ExitStack() as stack:

        def start(*arguments: str, **settings: str) -> WorkerProcess:
            environment = {**database.environment, **s3, **ours, **settings}
            return stack.enter_context(WorkerProcess(tmp_path, environment, arguments))

        yield start


@pytest.fixture
def app(database: Database) -> Connection:
    """The app's connection: it enqueues and looks."""
    connection = database.connect()
    offer_local(connection)
    grant(connection, amount=10)
    return connection


def stores_an_image(request: Request) -> bool:
    return request.method == "PUT" and "/images/images/" in request.path


def sweeps(request: Request) -> bool:
    return "prefix=images" in request.path


def calls(connection: Connection, job_id: UUID) -> int:
    row = connection.execute("SELECT count(*) FROM provider_call WHERE job_id = %s", (job_id,)).fetchone()
    assert row is not None
    return row[0]


def test_an_image_that_was_paid_for_waits_for_its_storage(
    app: Connection, start_worker: StartWorker, proxy: Proxy, s3: S3Storage
) -> None:
    slow_down, unavailable = xml_error(503, "SlowDown"), xml_error(500, "InternalError")
    proxy.fail(slow_down, slow_down, unavailable, xml_error(403, "AccessDenied"), answer_lost, match=stores_an_image)
    job_id = enqueue(app, payload=THUMBNAIL)
    assert start_worker("--until-empty").exit_status() == 0
    done = job(app, job_id)
    assert (done["status"], done["attempt"], calls(app, job_id), balance(app)) == ("completed", 1, 1, 9)
    assert len([request for request in proxy.requests if stores_an_image(request)]) == 6
    [image] = done["result"]["images"]
    link = s3.link(image["key"], seconds=60)
    assert link is not None
    answer = requests.get(link, timeout=10)
    assert (len(answer.content), answer.headers["Content-Type"]) == (image["bytes"], image["content_type"])
    assert s3.get(image["thumbnail_key"]) is not None
    assert find_violations(queries_on(app), max_paid_calls=1) == []


def test_an_image_that_a_crash_left_in_the_storage_is_not_paid_for_again(
    app: Connection, start_worker: StartWorker, s3: S3Storage
) -> None:
    job_id = put_job(app, "pending", crashes=1, attempt=1)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP")
    s3.put(f"images/{job_id}-0123456789ab.webp", file.getvalue(), "image/webp")
    assert start_worker("--until-empty").exit_status() == 0
    assert (job(app, job_id)["status"], calls(app, job_id)) == ("completed", 0)


def test_a_worker_that_could_not_store_anything_takes_no_job(app: Connection, start_worker: StartWorker) -> None:
    job_id = enqueue(app)
    worker = start_worker(AWS_SECRET_ACCESS_KEY="guessed-secret")
    assert worker.exit_status() != 0
    assert "s3: cannot use the bucket" in worker.said()
    assert "guessed" not in worker.said()
    assert (job(app, job_id)["status"], calls(app, job_id)) == ("pending", 0)


def test_while_the_storage_hangs_the_jobs_of_dead_workers_are_reclaimed(
    app: Connection, start_worker: StartWorker, proxy: Proxy
) -> None:
    proxy.fail(*[proxy.hang] * 9, match=sweeps)
    worker = start_worker(LEASE_DURATION="4s")
    wait_until(lambda: any(map(sweeps, proxy.requests)), "the worker sweeps")
    expired = LEASED | {"lease_expires_at": sql.SQL("clock_timestamp() - interval '1 minute'")}
    put_job(app, "processing", attempt=1, max_attempts=4, **expired)
    worker.wait_for("lease.reclaimed")
    assert not worker.events("maintenance.failed")
    worker.terminate()
    worker.terminate()
    assert worker.exit_status() == 0


def test_a_storage_that_hangs_past_an_attempts_deadline_makes_no_thread_stuck(
    app: Connection, start_worker: StartWorker, proxy: Proxy
) -> None:
    """Otherwise one bad moment of the storage would end the worker, with everything that it is at."""
    proxy.fail(proxy.hang, proxy.hang, match=stores_an_image)
    job_id = enqueue(app)
    worker = start_worker(
        WORKER_JOB_TIMEOUT="3s",
        LEASE_DURATION="3s",
        RETRY_INITIAL_DELAY="100ms",
        STORAGE_TIMEOUT="7s",
        IMAGE_TIMEOUT="3s",
    )
    worker.wait_for("image.staged")
    wait_until(lambda: job(app, job_id)["status"] == "completed", "the next attempt stores the image")
    assert worker.events("thread.stuck") == []
    assert (job(app, job_id)["attempt"], job(app, job_id)["crashes"], calls(app, job_id)) == (2, 0, 1)
