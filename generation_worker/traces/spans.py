"""The spans of a job: ``generation_job`` from its enqueueing to its end, below it the attempts, below each its steps.

Each is made when it is over, from how long it took. Nothing is kept meanwhile: the ids of a job's span and of an
attempt's follow from the job and its lease, so their children name them as parents before they are made, in another
process too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from generation_worker.domain.trace import job_span_id
from generation_worker.traces.ids import GivenIds

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
