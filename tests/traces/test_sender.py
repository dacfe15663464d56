"""Spans are sent only when configured, and never delay anything."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

from generation_worker.config import load_settings
from generation_worker.events import Events
from generation_worker.traces import sender as sender_module
from generation_worker.traces.sender import Sender
from generation_worker.traces.spans import PresetIds, span_events
from generation_worker.wiring import build_sender
from tests.domain.jobs import a_job
from tests.support.collector import Collector, collecting
from tests.support.jobs import TRACEPARENT

JOB = a_job(traceparent=TRACEPARENT)
STORED: dict[str, Any] = {**JOB.tags, "seconds": 0.5, "bytes": 7}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the machine's own may name a collector."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def sender_to(collector: Collector) -> Sender:
    sender = build_sender(load_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}), pytest.fail)
    assert sender is not None
    return sender


def send(collector: Collector, name: str, fields: dict[str, Any]) -> None:
    """Have one event told of."""
    sender, events = sender_to(collector), Events()
    span_events(events, sender.spans)
    events.emit(name, **fields)
    assert sender.close(within=30)


def test_who_does_not_ask_for_it_does_not_even_load_it() -> None:
    code = """if True:
        import sys
        from generation_worker.config import load_settings
        from generation_worker.wiring import build_sender
        print(build_sender(load_settings({}), print), [name for name in sys.modules if "opentelemetry.sdk" in name])
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "None []\n"


def test_what_is_wrong_with_other_variables_is_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")
    notices: list[str] = []
    assert build_sender(load_settings({"OTEL_TRACES_EXPORTER": "otlp"}), notices.append) is None
    assert notices == [
        "OTEL_TRACES_EXPORTER: no traces are sent, because the environment's OTEL_ variables cannot be used: "
        "max_export_batch_size must be a positive integer."
    ]


def test_the_end_waits_no_longer_than_it_may() -> None:
    with collecting(answer=None) as hanging:
        sender, events = sender_to(hanging), Events()
        span_events(events, sender.spans)
        events.emit("image.stored", **STORED)
        assert sender.close(within=0.1) is False


def test_a_span_that_nobody_could_place_is_no_harm(collector: Collector) -> None:
    """Times without an end, and one that lies ahead by the database's clock."""
    for waited in (float("inf"), float("nan"), -5.0):
        send(collector, "attempt.started", {**JOB.tags, "kind": "k", "provider": "local", "waited": waited})
    assert [span.start == span.end for span in collector.named("wait")] == [True] * 3


def test_texts_from_outside_are_short(collector: Collector) -> None:
    call = {"provider": "local", "model": "m" * 10_000, "outcome": "ok", "milliseconds": 5}
    send(collector, "call.finished", {**JOB.tags, **call})
    assert len(collector.spans[0].attributes["generation.model"]) == 200


def test_a_service_has_the_name_that_it_was_given(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine,deployment.environment.name=here")
    send(collector, "image.stored", STORED)
    found = collector.spans[0].resource
    assert (found["service.name"], found["deployment.environment.name"]) == ("mine", "here")


RECORDED, NOT_RECORDED = TRACEPARENT, f"{TRACEPARENT[:-2]}00"


@pytest.mark.parametrize(
    ("sampler", "traceparent", "sent"),
    [
        ("parentbased_always_on", RECORDED, 1),
        ("parentbased_always_on", NOT_RECORDED, 0),
        ("parentbased_always_on", None, 1),
        ("parentbased_always_off", RECORDED, 1),
        ("parentbased_always_off", None, 0),
        ("parentbased_traceidratio", None, 0),
        ("always_off", RECORDED, 0),
        ("always_on", NOT_RECORDED, 1),
    ],
)
def test_a_job_is_sampled_as_its_caller_is_or_else_as_the_sampler_says(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str, traceparent: str | None, sent: int
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    send(collector, "image.stored", {**a_job(traceparent=traceparent).tags, "seconds": 0.5, "bytes": 7})
    assert len(collector.spans) == sent


def test_spans_of_libraries_are_not_sent(collector: Collector) -> None:
    """Google's SDK and others may trace what they send, prompts included, by the process's provider."""
    sender = sender_to(collector)
    trace.get_tracer("a_library").start_span("generate_content", attributes={"prompt": "secret"}).end()
    assert sender.close(within=30)
    assert collector.spans == []


def test_preset_ids_are_the_threads_own_and_used_once() -> None:
    ids = PresetIds()
    ids.preset(trace_id=1, span_id=2)
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.extend([ids.generate_trace_id(), ids.generate_span_id()]))
    thread.start()
    thread.join()
    assert not {1, 2} & set(elsewhere)
    assert (ids.generate_trace_id(), ids.generate_span_id()) == (1, 2)
    assert not {1, 2} & {ids.generate_trace_id(), ids.generate_span_id()}


def test_a_collector_that_is_gone_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in sender_module.EXPORTER_LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    monkeypatch.setattr(sender_module, "RATE_LIMIT", sender_module.RateLimitFilter())
    collector.answer = 400
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            send(collector, "image.stored", STORED)
    assert collector.requests == 3
    assert [record.name for record in caplog.records if "Failed to export" in record.getMessage()] == [
        sender_module.EXPORTER_LOGGERS[0]
    ]


def test_a_line_that_is_held_back_is_let_through_later(monkeypatch: pytest.MonkeyPatch) -> None:
    record, rate_limit = logging.makeLogRecord({}), sender_module.RateLimitFilter()
    assert [rate_limit.filter(record) for _ in range(2)] == [True, False]
    monkeypatch.setattr(sender_module, "LOG_INTERVAL", 0.0)
    later = sender_module.RateLimitFilter()
    assert [later.filter(record) for _ in range(2)] == [True, True]
