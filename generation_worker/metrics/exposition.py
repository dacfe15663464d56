"""Puts the metrics together and writes them out in the format that a scraper accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from generation_worker.events import Events
from generation_worker.metrics.fleet import Fleet
from generation_worker.metrics.labels import providers
from generation_worker.metrics.meters import Meters
from generation_worker.metrics.process import Process
from generation_worker.metrics.questions import Ask


class Metrics:
    """All metrics of one worker, in a registry of its own. Counts from the moment it is made."""

    def __init__(self, events: Events, names: Iterable[str]) -> None:
        """``names`` are the providers that may stand in a label."""
        disable_created_metrics()  # a second series for each, which nobody asks for
        self._events = events
        self._provider = providers(names)
        self._own = CollectorRegistry()
        self._fleet: Fleet | None = None
        ProcessCollector(registry=self._own)
        Meters(self._own, self._provider).listen(events)

    def watch(self, report: Callable[[], dict[str, Any]], ask: Ask) -> None:
        """Show this worker's state, as ``report`` tells it, and the fleet's, as whoever ``ask`` lends answers."""
        self._own.register(Process(report))
        self._fleet = Fleet(ask, self._provider, self._events)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Show how many streams of events this worker has open, as ``count`` tells it."""
        text = "Streams of events that this process has open now; API_MOST_STREAMS bounds them."
        Gauge("worker_event_streams", text, registry=self._own).set_function(count)

    def scrape(self, accept: str, *, fleet: bool) -> tuple[bytes, str]:
        """The metrics and their content type, as the scraper's Accept header wants them.

        Without ``fleet`` only what this process knows by itself, which costs no question to the database.
        """
        encode, content_type = choose_encoder(accept)
        parts: list[Collector] = [self._own, *([self._fleet] if fleet and self._fleet else [])]
        return encode(_Together(parts)), content_type


class _Together(Collector):
    def __init__(self, parts: list[Collector]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part.collect()
