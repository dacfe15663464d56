"""Spans for OpenTelemetry: what became of a job, from its enqueueing to its end, in the trace of whoever enqueued it.

Needs the extra ``otel``; importing this without it raises ImportError.
"""

from generation_worker.traces.sender import Sender
from generation_worker.traces.telling import tell_spans

__all__ = ["Sender", "tell_spans"]
