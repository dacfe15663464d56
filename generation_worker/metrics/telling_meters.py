"""What this process tells others: webhooks, and streams of events."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from generation_worker.metrics.buckets import DELIVERING
from generation_worker.metrics.labels import DELIVERY, STREAM_LIMIT


class DeliveryMeters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "worker_webhook_deliveries",
            "Tries of this process to tell an endpoint something: delivered, failed (tried again later), dead (given "
            "up) or lost (somebody else had it by then).",
            ["outcome"],
            registry=registry,
        )
        self._delivery = Histogram(
            "worker_webhook_seconds",
            "Seconds that an endpoint took to answer this process, or not to.",
            buckets=DELIVERING,
            registry=registry,
        )

    def ended(self, fields: dict[str, Any]) -> None:
        self._deliveries.labels(DELIVERY.of(fields["outcome"])).inc()
        self._delivery.observe(fields["seconds"])


class StreamMeters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "worker_event_streams_refused",
            "Streams of events that this process did not open, by the limit: streams (API_MOST_STREAMS), jobs (that "
            "all streams together follow) or key (API_STREAMS_PER_KEY).",
            ["limit"],
            registry=registry,
        )
        for limit in STREAM_LIMIT.known:
            self._refused.labels(limit)

    def refused(self, fields: dict[str, Any]) -> None:
        self._refused.labels(STREAM_LIMIT.of(fields["limit"])).inc()
