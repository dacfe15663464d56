"""Streams of a worker's own process: a job from the request to its image, a stop, and a crowd."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil

from generation_worker.db.connections import APPLICATION, CONNECTIONS
from generation_worker.db.embedded import free_port
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection
from tests.support.jobs import grant
from tests.support.listening import Crowd, Listener
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until

STREAMS = 200
PER_SECOND = 50
SECONDS = 6
MIB = 1024 * 1024


def serving(start_worker: StartWorker, **settings: str) -> tuple[WorkerProcess, str]:
    """A worker with its API, and where that is."""
    port = free_port()
    worker = start_worker(ENABLE_API="true", HEALTH_HOST="127.0.0.1", PORT=str(port), **settings)
    worker.wait_for("worker.started")
    return worker, f"http://127.0.0.1:{port}"


def asking(prompt: str, **more: Any) -> dict[str, Any]:
    return {"kind": "text_to_image", "user_id": "ada", "payload": {"prompt": prompt}, **more}


def test_from_the_request_to_the_image(app: Connection, start_worker: StartWorker):
    grant(app)
    _, url = serving(start_worker)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client, Crowd(url) as crowd:
        everything = crowd.listen("/worker/events?user_id=ada")
        accepted = client.post("/worker/jobs", json=asking("a red kite", count=2)).json()
        batch = client.get(accepted["batch_url"]).json()
        followed = [crowd.listen(address) for address in (accepted["events_url"], batch["events_url"])]
        for stream in followed:
            stream.wait_for_end()
            assert stream.statuses[-1] == "completed"
            [image] = stream.jobs[-1]["result"]["images"]
            assert image["key"].startswith("images/")
        everything.wait_for(lambda it: it.statuses.count("completed") == 2, "the user hears of both")


def test_a_worker_that_is_stopped_ends_its_streams_first(app: Connection, start_worker: StartWorker):
    grant(app)
    worker, url = serving(start_worker)
    with httpx.Client(base_url=url, trust_env=False) as client, Crowd(url) as crowd:
        later = client.post("/worker/jobs", json=asking("a kite", run_at="2090-01-01T00:00:00Z")).json()
        streams = [crowd.listen(later["events_url"]), crowd.listen("/worker/events?user_id=ada")]
        for stream in streams:
            stream.wait_for(lambda it: it.statuses == ["scheduled"], "it begins")
        worker.terminate()
        for stream in streams:
            stream.wait_for_end()
            assert stream.broken is None
        assert worker.exit_status() == 0
    assert "Cancel" not in worker.said()


def test_two_hundred_streams_while_fifty_jobs_a_second_come_in(
    app: Connection, start_worker: StartWorker, tmp_path: Path
):
    """Nobody looks at the clock: every stream hears its job's end, and none costs a thread or a connection."""
    grant(app, amount=PER_SECOND * SECONDS)
    worker, url = serving(
        start_worker, API_REQUESTS_PER_MINUTE="100000", API_MOST_WAITING="100000", LOCAL_FAULTS="blank=no_image",
        WORKER_MAX_RETRIES="0", LOG_LEVEL="info",
    )  # fmt: skip
    process = psutil.Process(worker.pid)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client, Crowd(url) as crowd:
        before = process.memory_info().rss
        streams: list[Listener] = []
        most: Counter[str] = Counter()
        begun = time.monotonic()
        for number in range(PER_SECOND * SECONDS):
            time.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
            run_at = {"run_at": "2090-01-01T00:00:00Z"} if number < STREAMS // 2 else {}
            accepted = client.post("/worker/jobs", json=asking("a blank page", **run_at)).json()
            if len(streams) < STREAMS:
                streams.append(crowd.listen(accepted["events_url"], wait=False))
            if number % PER_SECOND == 0:
                most |= Counter(threads=process.num_threads(), sessions=sessions(app))
        for stream in streams[: STREAMS // 2]:
            stream.wait_for(lambda it: "scheduled" in it.statuses, "it begins")
        most |= Counter(threads=process.num_threads(), sessions=sessions(app))
        app.execute("SELECT cancel_generation(id) FROM generation_job WHERE status = 'scheduled'")
        for stream in streams:
            stream.wait_for_end()
        assert [stream.events[-1].kind for stream in streams] == ["end"] * STREAMS
        ends = Counter(stream.statuses[-1] for stream in streams)
        assert ends == {"cancelled": STREAMS // 2, "failed": STREAMS // 2}
        assert most["sessions"] <= CONNECTIONS
        assert most["threads"] < 100
        assert process.memory_info().rss - before < 150 * MIB
        wait_until(lambda: running(app) == 0, "all jobs are done")
    assert worker.events("loop.failed") == []


def sessions(connection: Connection) -> int:
    """Connections of the API."""
    return only(connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", APPLICATION)


def running(connection: Connection) -> int:
    return only(connection, "SELECT count(*) FROM generation_job WHERE finished_at IS NULL")


def only(connection: Connection, query: str, *values: Any) -> int:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]
