"""Sends spans to a collector, in a thread of its own: no job waits for it, nor the end of the process for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from generation_worker.traces.spans import GivenIds, Spans

TALKATIVE = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
QUIET = 60.0
"""Seconds between two lines of the log about a collector that does not take spans."""


class Sender:
    """Spans that wait are bounded (OTEL_BSP_MAX_QUEUE_SIZE); what comes when the queue is full is dropped."""

    def __init__(
        self, *, endpoint: str | None, headers: Mapping[str, str], service: str, version: str, worker: str
    ) -> None:
        """What is not given here, OpenTelemetry reads from the environment: timeouts, certificates, samplers and so on.

        ``service`` is a default for OTEL_SERVICE_NAME. Raises whatever OpenTelemetry does about values that it refuses.
        """
        ids = GivenIds()
        # Ours alone, and not the process's: what libraries may one day trace by themselves would hold prompts.
        self._provider = TracerProvider(
            id_generator=ids,
            resource=_resource(service, version, worker),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.spans = Spans(self._provider, ids, version=version)
        for name in TALKATIVE:
            logging.getLogger(name).addFilter(SELDOM)

    def close(self, *, within: float) -> bool:
        """Send what waits. False if that took longer than ``within`` seconds, and was given up."""
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(within)
        return not last.is_alive()


def _resource(service: str, version: str, worker: str) -> Resource:
    ours = {"service.name": service, "service.version": version, "service.instance.id": worker}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


class Seldom(logging.Filter):
    """Lets one line through in a while: a collector may be gone for hours, and is asked every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the signature is logging's
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + QUIET
        return True


SELDOM = Seldom()
