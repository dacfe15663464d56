"""Metrics for Prometheus: what this process has done, and how the whole fleet is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from generation_worker.events import Events
from generation_worker.metrics.fleet import Ask, Fleet
from generation_worker.metrics.meters import (
    AttemptMeters,
    CallMeters,
    DeliveryMeters,
    Label,
    StreamMeters,
    providers,
    tallies,
)

# What this process has done, counted as its events tell. Each worker counts its own; Prometheus adds them up.


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


# How this worker is, as its health page says, in numbers. Asks nobody.


FIGURES = {
    "concurrency": ("worker_concurrency", "Jobs that this process does at once."),
    "busy": ("worker_busy", "Jobs that this process is at now."),
    "stuck": ("worker_stuck_threads", "Threads of this process that have not come back long after their job's time."),
    "unwritten": ("worker_unwritten_settlements", "Attempts of this process that have ended and are not written yet."),
    "ready": ("worker_ready", "1 while this process takes jobs."),
    "listening": ("worker_listening", "1 while LISTEN wakes this process; without it, it polls."),
}


class Process(Collector):
    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        said = self._report()
        info = GaugeMetricFamily("worker_build_info", "1; the label has this process's version.", labels=["version"])
        info.add_metric([said["version"]], 1)
        return [info, *(GaugeMetricFamily(name, text, float(said[key])) for key, (name, text) in FIGURES.items())]


# Puts the metrics together and writes them out in the format that a scraper accepts.


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


__all__ = ["Metrics"]
