"""Sends spans to an OpenTelemetry collector, in its own thread: no job waits for it, and the process only briefly."""

import logging
import threading
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from generation_worker.traces.spans import PresetIds, Spans

EXPORTER_LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
LOG_INTERVAL = 60.0
"""Seconds between two log lines about a collector that does not accept spans."""


class Sender:
    """Collects spans and exports them in batches.

    The queue is bounded (OTEL_BSP_MAX_QUEUE_SIZE); spans are dropped when it is full.
    """

    def __init__(
        self, *, endpoint: str | None, headers: Mapping[str, str], service: str, version: str, worker: str
    ) -> None:
        """All other settings (timeouts, certificates, samplers …) OpenTelemetry reads from the environment.

        ``service`` is a default for OTEL_SERVICE_NAME. Raises what OpenTelemetry raises for values that it rejects.
        """
        ids = PresetIds()
        # Not the global provider: spans of instrumented libraries could contain prompts.
        self._provider = TracerProvider(
            id_generator=ids,
            resource=_resource(service, version, worker),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.spans = Spans(self._provider, ids, version=version)
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(RATE_LIMIT)

    def close(self, *, within: float) -> bool:
        """Send the queued spans. False if that took more than ``within`` seconds and was abandoned."""
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(within)
        return not last.is_alive()


def _resource(service: str, version: str, worker: str) -> Resource:
    defaults = {"service.name": service, "service.version": version, "service.instance.id": worker}
    return Resource.create({**defaults, **OTELResourceDetector().detect().attributes})


class RateLimitFilter(logging.Filter):
    """Passes one record per LOG_INTERVAL: a collector may be away for hours, and is tried every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._muted_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the signature is logging's
        now = time.monotonic()
        if now < self._muted_until:
            return False
        self._muted_until = now + LOG_INTERVAL
        return True


RATE_LIMIT = RateLimitFilter()
