"""Metrics for Prometheus: of this process, and of the whole fleet."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from generation_worker.db.query import Queries
from generation_worker.events import Events
from generation_worker.metrics.fleet import FleetCollector
from generation_worker.metrics.meters import (
    AttemptMeters,
    CallMeters,
    DeliveryMeters,
    Label,
    StreamMeters,
    providers,
    tallies,
)

PROCESS_GAUGES = {
    "concurrency": ("worker_concurrency", "Jobs that this process does at once."),
    "busy": ("worker_busy", "Jobs that this process is processing now."),
    "stuck": (
        "worker_stuck_threads",
        "Threads of this process that are still running long after their job's deadline.",
    ),
    "unwritten": ("worker_unwritten_settlements", "Attempts of this process that have ended and are not written yet."),
    "ready": ("worker_ready", "1 while this process takes jobs."),
    "listening": ("worker_listening", "1 while LISTEN wakes this process; without it, it polls."),
}
"""The names and texts of gauges, by their fields in the report of this process."""


class Metrics:
    """All metrics of one worker, in a registry of its own. Counts from its creation on."""

    def __init__(self, events: Events, names: Iterable[str]) -> None:
        """``names`` are the providers that may be values of a label."""
        disable_created_metrics()  # a second series for each, which no dashboard uses
        self._events = events
        self._provider = providers(names)
        self._process = CollectorRegistry()
        self._fleet: FleetCollector | None = None
        ProcessCollector(registry=self._process)
        EventMeters(self._process, self._provider).subscribe_to(events)

    def watch(self, report: Callable[[], dict[str, Any]], queries: Queries) -> None:
        """Add the state of this process, as ``report`` returns it, and the metrics of the fleet."""
        self._process.register(ReportCollector(report))
        self._fleet = FleetCollector(queries, self._provider, self._events)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Add the number of open event streams of this process, as ``count`` returns it."""
        text = "Streams of events that this process has open now; API_MOST_STREAMS bounds them."
        Gauge("worker_event_streams", text, registry=self._process).set_function(count)

    def scrape(self, accept: str, *, fleet: bool) -> tuple[bytes, str]:
        """The metrics and their content type, in a format of the scraper's Accept header.

        Without ``fleet`` only the metrics of this process, for which the database is not queried.
        """
        encode, content_type = choose_encoder(accept)
        parts: list[Collector] = [self._process, *([self._fleet] if fleet and self._fleet else [])]
        return encode(_Together(parts)), content_type


class EventMeters:
    """Counters and histograms of one process. Runs in the threads that emit the events."""

    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        attempts = AttemptMeters(registry, provider)
        calls = CallMeters(registry, provider)
        self._handlers = {
            "attempt.started": attempts.started,
            "attempt.settled": attempts.settled,
            "call.finished": calls.finished,
            "image.stored": calls.stored,
            "delivery.ended": DeliveryMeters(registry).ended,
            "stream.refused": StreamMeters(registry).refused,
        }
        self._tallies = tallies(registry)

    def subscribe_to(self, events: Events) -> None:
        events.subscribe(self._observe)

    def _observe(self, name: str, fields: dict[str, Any]) -> None:
        if handle := self._handlers.get(name):
            handle(fields)
        elif tally := self._tallies.get(name):
            tally.inc()


class ReportCollector(Collector):
    """The report of this process, as on its health page, as numbers."""

    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        report = self._report()
        info = GaugeMetricFamily("worker_build_info", "1; the label has this process's version.", labels=["version"])
        info.add_metric([report["version"]], 1)
        gauges = (GaugeMetricFamily(name, text, float(report[key])) for key, (name, text) in PROCESS_GAUGES.items())
        return [info, *gauges]


class _Together(Collector):
    def __init__(self, parts: list[Collector]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part.collect()


__all__ = ["Metrics"]
