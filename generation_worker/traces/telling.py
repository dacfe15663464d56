"""Makes spans of the worker's events."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanKind

from generation_worker.domain.job import FINAL
from generation_worker.domain.trace import Trace
from generation_worker.events import Events
from generation_worker.traces.spans import Spans

CRASHED = "crashed"
NO_FAULT = ("ok", "stopped", "completed", "released", "cancelled")
"""Ends of calls and attempts that nobody has to look into."""


def tell_spans(events: Events, spans: Spans) -> None:
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
