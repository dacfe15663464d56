"""The span that an app which uses OpenTelemetry is in just now."""

from __future__ import annotations

import sys
from typing import Any


def current_traceparent() -> str | None:
    """It as W3C Trace Context writes it, or None.

    Where nobody has imported OpenTelemetry there is no span, and nothing is imported for the sake of asking.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}" if span.is_valid else None
