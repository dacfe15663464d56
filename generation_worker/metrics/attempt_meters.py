"""What an attempt took, how it ended, and what it cost."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from generation_worker.metrics.buckets import IMAGES, WAITS
from generation_worker.metrics.labels import KIND, OUTCOME, Label


class AttemptMeters:
    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        self._provider = provider
        self._money = MoneyMeters(registry)
        self._wait = Histogram(
            "worker_wait_seconds",
            "Seconds from the moment a job might have started to its claim by this process.",
            ["provider"],
            buckets=WAITS,
            registry=registry,
        )
        self._attempt = Histogram(
            "worker_attempt_seconds",
            "Seconds from a claim of this process to the settlement, by how the attempt ended.",
            ["outcome"],
            buckets=IMAGES,
            registry=registry,
        )
        self._attempts = Counter(
            "worker_attempts",
            "Attempts that this process has settled, by how they ended.",
            ["kind", "provider", "outcome"],
            registry=registry,
        )

    def started(self, fields: dict[str, Any]) -> None:
        if math.isfinite(waited := fields["waited"]):  # a date without an end has no distance
            self._wait.labels(self._provider.of(fields["provider"])).observe(max(waited, 0.0))

    def settled(self, fields: dict[str, Any]) -> None:
        outcome = OUTCOME.of(fields["outcome"])
        self._attempts.labels(KIND.of(fields["kind"]), self._provider.of(fields["provider"]), outcome).inc()
        self._attempt.labels(outcome).observe(fields["seconds"])
        self._money.count(fields["status"], fields["cost"])


class MoneyMeters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._charged = Counter(
            "worker_credits_charged",
            "Credits for jobs that this process completed. A job is debited when it starts, and counted at its end.",
            registry=registry,
        )
        self._refunds = Counter(
            "worker_refunds",
            "Refunds for jobs that this process settled as failed or cancelled. Not those of jobs that waited when an "
            "app cancelled them or when they expired: worker_hour_refunds has all.",
            registry=registry,
        )
        self._refunded = Counter(
            "worker_credits_refunded", "Credits given back by the refunds in worker_refunds_total.", registry=registry
        )

    def count(self, status: str, cost: int) -> None:
        if status == "completed":
            self._charged.inc(cost)
        elif status in ("failed", "cancelled") and cost:
            self._refunds.inc()
            self._refunded.inc(cost)
