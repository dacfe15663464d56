"""What calls of providers took and came to, and how long their images took to store."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from generation_worker.metrics.buckets import IMAGES, STORING
from generation_worker.metrics.labels import CALL_OUTCOME, Label

NOT_MADE = ("stopped", "gate_closed")
"""Outcomes of calls whose duration says nothing about the provider."""


class CallMeters:
    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        self._provider = provider
        self._generation = Histogram(
            "worker_generation_seconds",
            "Seconds that a provider took for one call of this process, by whether an image came.",
            ["provider", "result"],
            buckets=IMAGES,
            registry=registry,
        )
        self._storage = Histogram(
            "worker_storage_seconds",
            "Seconds in which this process stored an image with its thumbnail, tries included.",
            buckets=STORING,
            registry=registry,
        )
        self._calls = Counter(
            "worker_provider_calls",
            "Calls that this process made to providers, by outcome: ok, the error's code, or stopped by the worker.",
            ["provider", "outcome"],
            registry=registry,
        )

    def finished(self, fields: dict[str, Any]) -> None:
        provider, outcome = self._provider.of(fields["provider"]), CALL_OUTCOME.of(fields["outcome"])
        self._calls.labels(provider, outcome).inc()
        if outcome not in NOT_MADE:
            result = "ok" if outcome == "ok" else "failed"
            self._generation.labels(provider, result).observe(fields["milliseconds"] / 1000)

    def stored(self, fields: dict[str, Any]) -> None:
        self._storage.observe(fields["seconds"])
