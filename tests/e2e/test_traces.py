"""From whoever enqueues a job to its end: one trace, in the log and at a collector of OpenTelemetry's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from generation_worker.domain.job import job_span_id, trace_id_of
from tests.e2e.conftest import StartWorker
from tests.simulators.server import SimulatorServer
from tests.support.collector import Collector, SentSpan, collecting
from tests.support.database import Connection
from tests.support.jobs import TRACEPARENT, enqueue, grant, job, put_job
from tests.support.processes import WorkerProcess
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until
from tests.support.webhooks import put_endpoint

TRACE, CALLER = TRACEPARENT[3:35], TRACEPARENT[36:52]
CANARY = "canary-in-the-mine"
TOKEN = "collector-token-0123456789"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


def sending_to(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def wait_until_done(app: Connection, *jobs: UUID) -> None:
    wait_until(lambda: all(job(app, each)["finished_at"] for each in jobs), "the jobs have ended")


def stop(worker: WorkerProcess) -> None:
    worker.terminate()
    assert worker.exit_status() == 0


def lines_about_jobs(worker: WorkerProcess) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in worker.said().splitlines() if line.startswith("{")]
    return [line for line in lines if "job" in line]


def inside(inner: SentSpan, outer: SentSpan) -> bool:
    """Clocks of the database and of the worker differ a little, and so do times that were measured apart."""
    return outer.start - 0.5 <= inner.start <= inner.end <= outer.end + 0.5


def test_a_job_is_one_trace_below_its_caller(app: Connection, start_worker: StartWorker, collector: Collector):
    grant(app, CANARY)
    job_id = enqueue(app, CANARY, payload={"prompt": CANARY}, traceparent=TRACEPARENT)
    worker = start_worker(**sending_to(collector, OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{TOKEN}"))
    wait_until_done(app, job_id)
    stop(worker)
    spans = {span.name: span for span in collector.spans}
    assert len(collector.spans) == len(spans) == 6
    assert {span.trace_id for span in collector.spans} == {TRACE}
    whole, attempt = spans["generation_job"], spans["attempt"]
    assert (whole.parent_id, whole.span_id) == (CALLER, job_span_id(str(job_id)))
    assert (attempt.parent_id, spans["wait"].parent_id) == (whole.span_id, whole.span_id)
    assert {spans[name].parent_id for name in ("generate", "store", "settle")} == {attempt.span_id}
    assert all(inside(span, whole) for span in spans.values())
    assert all(inside(spans[name], attempt) for name in ("generate", "store", "settle"))
    assert all(span.error is None for span in spans.values())
    said = {"generation.job_id": str(job_id), "generation.attempt": 1}
    named = {**said, "generation.kind": "text_to_image", "generation.provider": "local"}
    assert whole.attributes == {**named, "generation.status": "completed"}
    assert attempt.attributes == {**named, "generation.outcome": "completed"}
    assert spans["wait"].attributes == named
    assert spans["generate"].attributes == {
        **said,
        "generation.provider": "local",
        "generation.model": "local-preview",
        "generation.outcome": "ok",
    }
    assert spans["store"].attributes.keys() == {*said, "generation.bytes"}
    assert whole.resource["service.name"] == "generation-worker"

    assert {headers["authorization"] for headers in collector.headers} == {f"Bearer {TOKEN}"}
    assert str(job_id).encode() in b"".join(collector.bodies)
    assert CANARY.encode() not in b"".join(collector.bodies)
    assert TOKEN not in worker.said()
    lines = lines_about_jobs(worker)
    assert {(line["trace_id"], line["span_id"]) for line in lines} == {(TRACE, attempt.span_id)}


def test_a_retry_on_another_worker_is_in_the_same_trace(
    app: Connection, start_worker: StartWorker, collector: Collector
):
    grant(app)
    job_id = enqueue(app, payload={"prompt": "stormy"})
    faults = {"LOCAL_FAULTS": "stormy=unavailable*1", "RETRY_INITIAL_DELAY": "2s", "RETRY_JITTER": "false"}
    first = start_worker(**sending_to(collector, WORKER_ID="first", **faults))
    wait_until(lambda: job(app, job_id)["status"] == "scheduled", "the first attempt has failed")
    stop(first)
    second = start_worker(**sending_to(collector, WORKER_ID="second", **faults))
    wait_until_done(app, job_id)
    stop(second)
    assert {span.trace_id for span in collector.spans} == {trace_id_of(str(job_id), None)}
    [whole] = collector.named("generation_job")
    assert (whole.parent_id, whole.attributes["generation.attempt"]) == ("", 2)
    attempts = collector.named("attempt")
    assert [
        (each.resource["service.instance.id"], each.attributes["generation.attempt"], each.error) for each in attempts
    ] == [("first", 1, "provider_unavailable"), ("second", 2, None)]
    assert {span.parent_id for span in [*attempts, *collector.named("wait")]} == {whole.span_id}
    assert [call.parent_id for call in collector.named("generate")] == [each.span_id for each in attempts]
    assert collector.named("generate")[0].attributes["error.type"] == "provider_unavailable"


def test_of_a_worker_that_was_killed_another_tells(app: Connection, start_worker: StartWorker, collector: Collector):
    grant(app)
    job_id = enqueue(app, payload={"prompt": "slow"}, traceparent=TRACEPARENT)
    settings = sending_to(collector, LEASE_DURATION="2s", LOCAL_FAULTS="slow=slow:1h*1")
    first = start_worker(**settings, WORKER_ID="first")
    wait_until(lambda: bool(collector.named("wait")), "the first worker has told of the claim")
    [began] = first.events("attempt.started")
    first.kill()
    second = start_worker(**settings, WORKER_ID="second")
    wait_until_done(app, job_id)
    stop(second)
    crashed, completed = collector.named("attempt")
    assert (crashed.span_id, crashed.error) == (began["span_id"], "crashed")
    assert (crashed.attributes["generation.worker"], crashed.resource["service.instance.id"]) == ("first", "second")
    assert crashed.end - crashed.start > 1
    assert completed.error is None
    [whole] = collector.named("generation_job")
    assert {span.parent_id for span in (crashed, completed)} == {whole.span_id}
    assert {span.trace_id for span in collector.spans} == {TRACE}


def test_a_job_that_ends_without_an_attempt_has_a_span_all_the_same(
    app: Connection, start_worker: StartWorker, collector: Collector
):
    poor = put_job(app, cost=5, traceparent=TRACEPARENT)
    late = put_job(app, "scheduled", deadline_at=sql.SQL("now()"), run_at=sql.SQL("now() + interval '1 hour'"))
    worker = start_worker(**sending_to(collector, LEASE_DURATION="2s"))
    wait_until_done(app, poor, late)
    stop(worker)
    spans = {span.attributes["generation.job_id"]: span for span in collector.named("generation_job")}
    assert [(spans[str(each)].trace_id, spans[str(each)].error) for each in (poor, late)] == [
        (TRACE, "insufficient_credits"),
        (trace_id_of(str(late), None), "deadline_exceeded"),
    ]


def test_telling_the_app_is_part_of_the_trace(app: Connection, start_worker: StartWorker, collector: Collector):
    grant(app)
    receiver = Receiver()
    with SimulatorServer([receiver]) as server:
        put_endpoint(app, url=f"{server.url}/{CANARY}", events=["job.completed"])
        job_id = enqueue(app, traceparent=TRACEPARENT)
        worker = start_worker("--until-empty", **sending_to(collector, WEBHOOK_ALLOW_PRIVATE="true"))
        assert worker.exit_status() == 0
    [delivered], [whole] = collector.named("deliver"), collector.named("generation_job")
    assert (delivered.trace_id, delivered.parent_id, delivered.error) == (TRACE, whole.span_id, None)
    assert delivered.attributes == {
        "generation.job_id": str(job_id),
        "generation.delivery": receiver.at(f"/{CANARY}")[0].id,
        "generation.type": "job.completed",
        "generation.attempt": 1,
        "generation.status": 204,
    }
    assert CANARY.encode() not in b"".join(collector.bodies)
    [line] = worker.events("delivery.ended")
    assert (line["job"], line["trace_id"]) == (str(job_id), TRACE)


def test_what_the_caller_does_not_record_is_not_sent(app: Connection, start_worker: StartWorker, collector: Collector):
    grant(app)
    quiet, loud = enqueue(app, traceparent=f"{TRACEPARENT[:-2]}00"), enqueue(app)
    worker = start_worker(**sending_to(collector))
    wait_until_done(app, quiet, loud)
    stop(worker)
    assert {span.attributes["generation.job_id"] for span in collector.spans} == {str(loud)}


@pytest.mark.parametrize("collector_is", ["hanging", "gone"])
def test_a_collector_that_does_not_answer_delays_no_job_and_not_the_end(
    app: Connection, start_worker: StartWorker, collector_is: str
):
    grant(app)
    jobs = [enqueue(app) for _ in range(5)]
    with collecting(answer=None) as hanging, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = Collector(f"http://127.0.0.1:{closed.getsockname()[1]}", 200)
        asked = hanging if collector_is == "hanging" else gone
        worker = start_worker(**sending_to(asked, OTEL_EXPORTER_OTLP_TIMEOUT="600"))
        wait_until_done(app, *jobs)
        if collector_is == "hanging":
            wait_until(lambda: hanging.requests > 0, "the collector was asked")
        worker.terminate()
        assert worker.exit_status() == 0
        assert worker.events("traces.unsent")


def test_without_the_extra_a_worker_says_so_and_works(
    app: Connection, start_worker: StartWorker, collector: Collector, tmp_path: Path
):
    grant(app)
    job_id = enqueue(app, traceparent=TRACEPARENT)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['opentelemetry.sdk'] = None")
    worker = start_worker(**sending_to(collector), PYTHONPATH=str(tmp_path))
    wait_until_done(app, job_id)
    stop(worker)
    [notice] = [each["notice"] for each in worker.events("settings.notice") if "traces" in each["notice"]]
    assert notice.startswith("OTEL_EXPORTER_OTLP_ENDPOINT: no traces are sent, because OpenTelemetry is not installed")
    assert "pip install 'generation-worker[otel]'" in notice
    assert collector.requests == 0
    assert {line["trace_id"] for line in lines_about_jobs(worker)} == {TRACE}


def test_every_line_about_a_job_names_its_trace(app: Connection, start_worker: StartWorker):
    grant(app, amount=3)
    traced = enqueue(app, traceparent=TRACEPARENT)
    untraced = enqueue(app)
    broken = enqueue(app, payload={"prompt": "broken"}, max_attempts=2)
    worker = start_worker(LOCAL_FAULTS="broken=unavailable")
    wait_until_done(app, traced, untraced, broken)
    stop(worker)
    lines = lines_about_jobs(worker)
    assert {line["job"] for line in lines} == {str(each) for each in (traced, untraced, broken)}
    for line in lines:
        kept = TRACEPARENT if line["job"] == str(traced) else None
        assert line["trace_id"] == trace_id_of(line["job"], kept), line
        assert "span_id" not in line
