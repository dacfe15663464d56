"""What this process has done, counted as its events tell. Each worker counts its own; Prometheus adds them up."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from generation_worker.events import Events
from generation_worker.metrics.attempt_meters import AttemptMeters
from generation_worker.metrics.call_meters import CallMeters
from generation_worker.metrics.labels import Label
from generation_worker.metrics.tallies import tallies
from generation_worker.metrics.telling_meters import DeliveryMeters, StreamMeters


class Meters:
    """Counters and histograms of one process. Hears events in the threads that they happen in."""

    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        attempts = AttemptMeters(registry, provider)
        calls = CallMeters(registry, provider)
        self._heard = {
            "attempt.started": attempts.started,
            "attempt.settled": attempts.settled,
            "call.finished": calls.finished,
            "image.stored": calls.stored,
            "delivery.ended": DeliveryMeters(registry).ended,
            "stream.refused": StreamMeters(registry).refused,
        }
        self._tallies = tallies(registry)

    def listen(self, events: Events) -> None:
        events.subscribe(self._hear)

    def _hear(self, name: str, fields: dict[str, Any]) -> None:
        if heard := self._heard.get(name):
            heard(fields)
        elif tally := self._tallies.get(name):
            tally.inc()
