"""Spans under ids that were fixed before: those of a job and of its attempts are known to every worker."""

from __future__ import annotations

import threading

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator


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
