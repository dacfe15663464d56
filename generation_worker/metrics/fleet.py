"""How the whole fleet is: gauges that are asked of the database, seldom and briefly, whoever scrapes and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from generation_worker.events import Events
from generation_worker.metrics.figures import families_of
from generation_worker.metrics.labels import Label
from generation_worker.metrics.questions import Ask
from generation_worker.ports import StoreUnavailable

KEPT = 5.0
"""Seconds for which an answer serves every scrape, a missing one too."""


class Fleet(Collector):
    """The same for every worker of a database, so any one of them can be asked."""

    def __init__(
        self, ask: Ask, provider: Label, events: Events, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._provider = provider
        self._events = events
        self._clock = clock
        self._lock = threading.Lock()
        self._known: list[Metric] = []
        self._known_until = clock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: it must not cost a question to be registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The gauges; if the database does not answer only worker_database_up, which is 0 then."""
        with self._lock:
            if self._clock() >= self._known_until:
                self._known = self._look()
                self._known_until = self._clock() + KEPT
            return self._known

    def _look(self) -> list[Metric]:
        try:
            with self._ask() as questions:
                return [_up(1), *families_of(questions, self._provider)]
        except StoreUnavailable:
            return [_up(0)]
        except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the figures of this process
            self._events.emit("fleet.unknown", exc_info=error)
            return [_up(0)]


def _up(value: int) -> Metric:
    text = (
        "1 if the database has answered, within seconds, what the fleet's figures are made from; else they are missing."
    )
    return GaugeMetricFamily("worker_database_up", text, value)
