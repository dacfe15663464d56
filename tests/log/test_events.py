"""The log lines of the worker's events."""

from __future__ import annotations

import json
import logging
from io import StringIO
from typing import Any

import pytest

from generation_worker.domain.job import attempt_span_id
from generation_worker.events import Events
from generation_worker.log.events import log_events
from generation_worker.log.setup import configure
from tests.domain.jobs import a_job
from tests.support.jobs import TRACEPARENT

JOB = a_job(traceparent=TRACEPARENT)


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(("traced", "span"), [(False, None), (True, attempt_span_id(JOB.lease_token))])
def test_each_line_about_a_job_names_its_trace(stream: StringIO, traced: bool, span: str | None) -> None:
    configure("debug", "json", stream)
    events = Events()
    log_events(events, "debug", traced=traced)
    events.emit("image.staged", **JOB.tags, bytes=5)
    events.emit("attempt.started", **JOB.tags, kind=JOB.kind, provider=JOB.provider, waited=0.0)
    logging.getLogger("a_library").warning("it went wrong")
    found = lines(stream)
    assert [line["event"] for line in found] == ["image.staged", "attempt.started", "it went wrong"]
    assert [(line["job"], line["trace_id"]) for line in found] == [(JOB.id, TRACEPARENT[3:35])] * 3
    assert [line.get("span_id") for line in found] == [span] * 3
    assert JOB.lease_token not in stream.getvalue()


def test_an_attempt_does_not_keep_the_names_of_the_one_before(stream: StringIO) -> None:
    configure("info", "json", stream)
    events = Events()
    log_events(events, "info", traced=True)
    second = a_job(id="0190a000-0000-7000-8000-000000000009", lease_token="another")
    for job in (JOB, second):
        events.emit("attempt.started", **job.tags)
        logging.getLogger("a_library").warning("it went wrong")
    assert [(line["job"], line["trace_id"], line["span_id"]) for line in lines(stream)] == [
        (job.id, job.trace.trace_id, job.trace.span_id) for job in (JOB, second)
    ]


def test_ids_are_worked_out_for_lines_and_not_for_attempts(stream: StringIO) -> None:
    """Most attempts log nothing; a hash for each of them is a tenth of what a busy worker does in Python."""
    asked: list[str] = []

    class Asked:
        traceparent = None

        @property
        def trace_id(self) -> str:
            asked.append("trace_id")
            return "1" * 32

    configure("warning", "json", stream)
    events = Events()
    log_events(events, "warning")
    for name in ("attempt.started", "attempt.settled"):
        events.emit(name, **{**JOB.tags, "trace": Asked()})
    assert asked == []
    logging.getLogger("a_library").warning("it went wrong")
    assert (asked, lines(stream)[0]["trace_id"]) == (["trace_id"], "1" * 32)
