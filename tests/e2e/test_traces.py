"""From whoever enqueues a job to its end: one trace, in the log and at a collector of OpenTelemetry's."""

from __future__ import annotations

import json
from typing import Any

from generation_worker.domain.trace import trace_id_of
from tests.e2e.conftest import StartWorker
from tests.support.database import Connection
from tests.support.jobs import TRACEPARENT, enqueue, grant, job
from tests.support.processes import WorkerProcess
from tests.support.waiting import wait_until


def lines_about_jobs(worker: WorkerProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.said().splitlines() if line.startswith("{")]
    return [line for line in lines if "job" in line]


def test_every_line_about_a_job_names_its_trace(app: Connection, start_worker: StartWorker):
    grant(app, amount=3)
    traced = enqueue(app, traceparent=TRACEPARENT)
    untraced = enqueue(app)
    broken = enqueue(app, payload={"prompt": "broken"}, max_attempts=2)
    worker = start_worker(LOCAL_FAULTS="broken=unavailable")
    wait_until(lambda: all(job(app, each)["finished_at"] for each in (traced, untraced, broken)), "all have ended")
    worker.terminate()
    assert worker.exit_status() == 0
    lines = lines_about_jobs(worker)
    assert {line["job"] for line in lines} == {str(each) for each in (traced, untraced, broken)}
    for line in lines:
        kept = TRACEPARENT if line["job"] == str(traced) else None
        assert line["trace_id"] == trace_id_of(line["job"], kept), line
        assert "span_id" not in line
