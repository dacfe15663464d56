"""Makes the spans of a job from the worker's events, in the trace of the caller that enqueued it.

``generation_job`` lasts from enqueue to the job's end; below it are the attempts, and below each its steps. A span is
made when it has ended, from its duration, and nothing is kept until then: the ids of a job's span and of an attempt's
follow from the job and its lease, so child spans name their parents before these exist, in another process too.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from generation_worker.domain.job import FINAL, Trace, job_span_id
from generation_worker.events import Events

JOB = "generation_job"
NAMESPACE = "generation."
LONGEST = 200
"""Characters kept of text from outside, such as a model's name."""
CRASHED = "crashed"
NO_FAULT = ("ok", "stopped", "completed", "released", "cancelled")
"""Outcomes of calls and attempts that are not errors."""

Fields = Mapping[str, Any]


def span_events(events: Events, spans: Spans) -> None:
    """Make spans of the events about jobs from now on."""
    listener = _SpanListener(spans)
    handlers = {
        "attempt.started": spans.end_wait,
        "call.finished": listener.call_finished,
        "image.stored": listener.image_stored,
        "lease.reclaimed": listener.lease_reclaimed,
        "attempt.settled": listener.attempt_settled,
        "job.refused": listener.job_ended,
        "job.expired": listener.job_ended,
        "delivery.ended": listener.delivery_ended,
    }

    def listen(name: str, fields: dict[str, Any]) -> None:
        if (handle := handlers.get(name)) and "job" in fields:
            fields = _with_ids(fields)
            if spans.is_sampled(fields):
                handle(fields)

    events.subscribe(listen)


def _with_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """Events outside of an attempt have a trace instead of its ids."""
    trace: Trace | None = fields.get("trace")
    if trace is None:
        return fields
    return {**fields, "trace_id": trace.trace_id, "span_id": trace.span_id, "traceparent": trace.traceparent}


class _SpanListener:
    """One method for each kind of event."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def call_finished(self, fields: dict[str, Any]) -> None:
        self._spans.end_step(
            "generate",
            fields,
            fields["milliseconds"] / 1000,
            kind=SpanKind.CLIENT,
            error=_fault(fields["outcome"], fields["outcome"]),
            provider=fields["provider"],
            model=fields["model"],
            outcome=fields["outcome"],
        )

    def image_stored(self, fields: dict[str, Any]) -> None:
        self._spans.end_step("store", fields, fields["seconds"], kind=SpanKind.CLIENT, bytes=fields["bytes"])

    def lease_reclaimed(self, fields: dict[str, Any]) -> None:
        """End the attempt of a worker that has died and cannot report it."""
        self._spans.end_attempt(fields, fields["seconds"], outcome=CRASHED, error=CRASHED)

    def attempt_settled(self, fields: dict[str, Any]) -> None:
        outcome, status = fields["outcome"], fields["status"]
        self._spans.end_step("settle", fields, fields["settling"], status=status)
        if outcome != CRASHED:
            self._spans.end_attempt(
                fields, fields["seconds"], outcome=outcome, error=_fault(outcome, fields["error_code"] or outcome)
            )
        if status in FINAL:
            self._spans.end_job(fields, status=status)

    def job_ended(self, fields: dict[str, Any]) -> None:
        self._spans.end_job(fields, status="failed")

    def delivery_ended(self, fields: dict[str, Any]) -> None:
        self._spans.end_delivery(fields, error=None if fields["outcome"] == "delivered" else fields["outcome"])


def _fault(outcome: str, code: str) -> str | None:
    return None if outcome in NO_FAULT else code


class Spans:
    """Makes spans that have just ended. ``fields`` are those of an event: they identify the job and the attempt."""

    def __init__(self, provider: TracerProvider, ids: PresetIds, *, version: str) -> None:
        self._tracer = provider.get_tracer("generation_worker", version)
        self._sampler = provider.sampler
        self._ids = ids

    def is_sampled(self, fields: Fields) -> bool:
        """Whether the job is sampled: as its caller's span is, else as the sampler decides for the trace."""
        trace_id = int(fields["trace_id"], 16)
        verdict = self._sampler.should_sample(_caller(fields), trace_id, JOB, SpanKind.CONSUMER)
        return verdict.decision.is_sampled()

    def end_job(self, fields: Fields, *, status: str) -> None:
        attributes = {**_of_job(fields), "status": status}
        error = fields["error_code"] if status == "failed" else None
        span_id = job_span_id(fields["job"])
        self._end(JOB, fields, fields["age"], attributes, _caller(fields), span_id, error=error, kind=SpanKind.CONSUMER)

    def end_attempt(self, fields: Fields, seconds: float, *, outcome: str, error: str | None) -> None:
        attributes = {**_of_job(fields), "outcome": outcome, "worker": fields.get("worker")}
        self._end(
            "attempt", fields, seconds, attributes, _below(fields, job_span_id(fields["job"])), fields["span_id"], error
        )

    def end_wait(self, fields: Fields) -> None:
        below = _below(fields, job_span_id(fields["job"]))
        self._end("wait", fields, fields["waited"], _of_job(fields), below)

    def end_delivery(self, fields: Fields, *, error: str | None) -> None:
        """One try to deliver a webhook. The address is left out: it may contain a secret."""
        attributes = {
            "job_id": fields["job"],
            **{key: fields[key] for key in ("delivery", "type", "attempt", "status")},
        }
        below = _below(fields, job_span_id(fields["job"]))
        self._end("deliver", fields, fields["seconds"], attributes, below, error=error, kind=SpanKind.CLIENT)

    def end_step(
        self,
        name: str,
        fields: Fields,
        seconds: float,
        *,
        error: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        **attributes: Any,
    ) -> None:
        """A step of an attempt."""
        attributes = {"job_id": fields["job"], "attempt": fields["attempt"], **attributes}
        self._end(name, fields, seconds, attributes, _below(fields, fields["span_id"]), error=error, kind=kind)

    def _end(
        self,
        name: str,
        fields: Fields,
        seconds: float,
        values: Fields,
        context: Context,
        span_id: str | None = None,
        error: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        end = time.time_ns()
        start = end - round(max(seconds, 0.0) * 1e9) if math.isfinite(seconds) else end
        attributes = {NAMESPACE + key: _short(value) for key, value in values.items() if value is not None}
        if error is not None:
            attributes |= {f"{NAMESPACE}error_code": error, "error.type": error}
        self._ids.preset(trace_id=int(fields["trace_id"], 16), span_id=int(span_id, 16) if span_id else None)
        span = self._tracer.start_span(name, context, kind, attributes, start_time=start)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(end)


def _of_job(fields: Fields) -> dict[str, Any]:
    """Without the user, the prompt and messages: a provider's message may quote the prompt."""
    return {
        "job_id": fields["job"],
        "kind": fields.get("kind"),
        "provider": fields.get("provider"),
        "attempt": fields.get("attempt"),
    }


def _caller(fields: Fields) -> Context:
    """The context below the caller's span; without one, the root of the job's own trace."""
    traceparent: str | None = fields["traceparent"]
    if traceparent is None:
        return Context()
    return _remote(fields["trace_id"], traceparent[36:52], int(traceparent[53:], 16) & 1)


def _below(fields: Fields, span_id: str) -> Context:
    return _remote(fields["trace_id"], span_id, TraceFlags.SAMPLED)


def _remote(trace_id: str, span_id: str, flags: int) -> Context:
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


class PresetIds(IdGenerator):
    """Generates random ids, except for those that were preset for the thread's next span."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._preset = threading.local()

    def preset(self, *, trace_id: int, span_id: int | None) -> None:
        """Set the ids of this thread's next span. None means a random span id."""
        self._preset.trace_id, self._preset.span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        return self._take("trace_id") or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._take("span_id") or self._random.generate_span_id()

    def _take(self, name: str) -> int | None:
        taken = getattr(self._preset, name, None)
        setattr(self._preset, name, None)
        return taken
