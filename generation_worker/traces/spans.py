"""Spans for OpenTelemetry: what became of a job, from its enqueueing to its end, in the trace of whoever enqueued it.

Needs the extra ``otel``; importing this without it raises ImportError.
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

# Spans under ids that were fixed before: those of a job and of its attempts are known to every worker.


class GivenIds(IdGenerator):
    """Gives the next span of a thread the ids that were set for it; every other one gets random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._given = threading.local()

    def give(self, *, trace_id: int, span_id: int | None) -> None:
        """For the next span of this thread."""
        self._given.trace_id, self._given.span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        return self._take("trace_id") or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._take("span_id") or self._random.generate_span_id()

    def _take(self, name: str) -> int | None:
        taken = getattr(self._given, name, None)
        setattr(self._given, name, None)
        return taken


# The spans of a job: ``generation_job`` from its enqueueing to its end, below it the attempts, below each its steps.
#
# Each is made when it is over, from how long it took. Nothing is kept meanwhile: the ids of a job's span and of an
# attempt's follow from the job and its lease, so their children name them as parents before they are made, in another
# process too.


JOB = "generation_job"
NAMESPACE = "generation."
LONGEST = 200
"""Most characters of a text that comes from outside, such as a model's name."""

Fields = Mapping[str, Any]


class Spans:
    """Makes spans that have just ended. ``fields`` are an event's: they say which job and which attempt it is about."""

    def __init__(self, provider: TracerProvider, ids: GivenIds, *, version: str) -> None:
        self._tracer = provider.get_tracer("generation_worker", version)
        self._sampler = provider.sampler
        self._ids = ids

    def are_wanted(self, fields: Fields) -> bool:
        """Whether the job is sampled: as its caller's span is, or else as the sampler judges the trace."""
        trace_id = int(fields["trace_id"], 16)
        verdict = self._sampler.should_sample(_caller(fields), trace_id, JOB, SpanKind.CONSUMER)
        return verdict.decision.is_sampled()

    def end_job(self, fields: Fields, *, status: str) -> None:
        said = {**_of_job(fields), "status": status}
        error = fields["error_code"] if status == "failed" else None
        span_id = job_span_id(fields["job"])
        self._end(JOB, fields, fields["age"], said, _caller(fields), span_id, error=error, kind=SpanKind.CONSUMER)

    def end_attempt(self, fields: Fields, seconds: float, *, outcome: str, error: str | None) -> None:
        said = {**_of_job(fields), "outcome": outcome, "worker": fields.get("worker")}
        self._end(
            "attempt", fields, seconds, said, _below(fields, job_span_id(fields["job"])), fields["span_id"], error
        )

    def end_wait(self, fields: Fields) -> None:
        below = _below(fields, job_span_id(fields["job"]))
        self._end("wait", fields, fields["waited"], _of_job(fields), below)

    def end_delivery(self, fields: Fields, *, error: str | None) -> None:
        """One try to tell the app of the job's end. Never where to: the address may hold a secret."""
        said = {"job_id": fields["job"], **{key: fields[key] for key in ("delivery", "type", "attempt", "status")}}
        below = _below(fields, job_span_id(fields["job"]))
        self._end("deliver", fields, fields["seconds"], said, below, error=error, kind=SpanKind.CLIENT)

    def end_step(
        self,
        name: str,
        fields: Fields,
        seconds: float,
        *,
        error: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        **said: Any,
    ) -> None:
        """A step of an attempt."""
        said = {"job_id": fields["job"], "attempt": fields["attempt"], **said}
        self._end(name, fields, seconds, said, _below(fields, fields["span_id"]), error=error, kind=kind)

    def _end(
        self,
        name: str,
        fields: Fields,
        seconds: float,
        said: Fields,
        context: Context,
        span_id: str | None = None,
        error: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        end = time.time_ns()
        start = end - round(max(seconds, 0.0) * 1e9) if math.isfinite(seconds) else end
        attributes = {NAMESPACE + key: _short(value) for key, value in said.items() if value is not None}
        if error is not None:
            attributes |= {f"{NAMESPACE}error_code": error, "error.type": error}
        self._ids.give(trace_id=int(fields["trace_id"], 16), span_id=int(span_id, 16) if span_id else None)
        span = self._tracer.start_span(name, context, kind, attributes, start_time=start)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(end)


def _of_job(fields: Fields) -> dict[str, Any]:
    """Never the user, the prompt or a message: those of a provider may quote the prompt."""
    return {
        "job_id": fields["job"],
        "kind": fields.get("kind"),
        "provider": fields.get("provider"),
        "attempt": fields.get("attempt"),
    }


def _caller(fields: Fields) -> Context:
    """Below the caller's span; without one at the top of a trace of the job's own."""
    traceparent: str | None = fields["traceparent"]
    if traceparent is None:
        return Context()
    return _remote(fields["trace_id"], traceparent[36:52], int(traceparent[53:], 16) & 1)


def _below(fields: Fields, span_id: str) -> Context:
    return _remote(fields["trace_id"], span_id, TraceFlags.SAMPLED)


def _remote(trace_id: str, span_id: str, flags: int) -> Context:
    place = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(place), Context())


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


# Makes spans of the worker's events.


CRASHED = "crashed"
NO_FAULT = ("ok", "stopped", "completed", "released", "cancelled")
"""Ends of calls and attempts that nobody has to look into."""


def span_events(events: Events, spans: Spans) -> None:
    """Have what happens to jobs become spans."""
    teller = _Teller(spans)
    heard = {
        "attempt.started": spans.end_wait,
        "call.finished": teller.call_finished,
        "image.stored": teller.image_stored,
        "lease.reclaimed": teller.lease_reclaimed,
        "attempt.settled": teller.attempt_settled,
        "job.refused": teller.job_ended,
        "job.expired": teller.job_ended,
        "delivery.ended": teller.delivery_ended,
    }

    def hear(name: str, fields: dict[str, Any]) -> None:
        if (tell := heard.get(name)) and "job" in fields:
            fields = _with_ids(fields)
            if spans.are_wanted(fields):
                tell(fields)

    events.subscribe(hear)


def _with_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """What happened to a job outside of an attempt names its trace itself."""
    trace: Trace | None = fields.get("trace")
    if trace is None:
        return fields
    return {**fields, "trace_id": trace.trace_id, "span_id": trace.span_id, "traceparent": trace.traceparent}


class _Teller:
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
        """The attempt ended when its worker fell silent, which cannot tell of it any more."""
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
