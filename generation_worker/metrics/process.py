"""How this worker is, as its health page says, in numbers. Asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
