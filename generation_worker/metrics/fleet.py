"""How the whole fleet is: gauges that are asked of the database, seldom and briefly, whoever scrapes and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from generation_worker.events import Events
from generation_worker.metrics.meters import Label
from generation_worker.ports import StoreUnavailable

# What the fleet's gauges are made from, in their own words: answers that the database's questions give.


class Count(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def jobs(self) -> int: ...
    @property
    def exact(self) -> bool: ...


class Lane(Protocol):
    @property
    def provider(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def workers(self) -> int: ...


class Span(Protocol):
    @property
    def span(self) -> str: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def mean_seconds(self) -> float | None: ...
    @property
    def credits_charged(self) -> int: ...
    @property
    def refunds(self) -> int: ...
    @property
    def credits_refunded(self) -> int: ...


class FleetWorker(Protocol):
    @property
    def state(self) -> str: ...


class KeyGate(Protocol):
    @property
    def key_label(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def calls_per_minute(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def workers(self) -> int: ...


class Duplicates(Protocol):
    @property
    def jobs(self) -> int: ...
    @property
    def calls(self) -> int: ...
    @property
    def credits(self) -> int: ...


class MaintenanceRow(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def found(self) -> Mapping[str, Any] | None: ...


class Questions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def count_jobs(self) -> Sequence[Count]: ...

    def oldest_waiting(self) -> Sequence[Lane]: ...

    def throughput(self, *, cap: int) -> Sequence[Span]: ...

    def workers(self, *, limit: int) -> Sequence[FleetWorker]: ...

    def gates(self, *, limit: int) -> Sequence[KeyGate]: ...

    def duplicate_calls(self) -> Duplicates: ...

    def oldest_snapshot(self) -> float: ...

    def maintenance(self) -> Sequence[MaintenanceRow]: ...


class Ask(Protocol):
    """Lends somebody who answers questions, for the length of a block."""

    def __call__(self) -> AbstractContextManager[Questions]: ...


# Makes gauges of what the database answers about the whole fleet.


SAMPLE = 10_000
"""How many of the latest final jobs stand for an hour with more of them."""
MOST_WORKERS = 1000
MOST_GATES = 100
GATE_STATES = ("ok", "limited", "open", "probing")
STATUSES = {
    "pending": "Jobs that may be claimed now",
    "scheduled": "Jobs that wait for their time: delayed by the caller, or backing off after a failed attempt",
    "rate_limited": "Jobs that wait because a provider said that it is too early",
    "processing": "Jobs that a worker holds now",
    "completed": "Jobs in the table that have their image",
    "failed": "Jobs in the table that ended for good without an image",
    "cancelled": "Jobs in the table that were stopped on request",
}
ESTIMATED = "in the whole fleet; an estimate beyond 10,000"


def families_of(questions: Questions, provider: Label) -> list[Metric]:
    """All gauges of the fleet. Raises StoreUnavailable."""
    return [
        *_jobs(questions.count_jobs()),
        *_lanes(questions.oldest_waiting(), provider),
        *_hour(questions.throughput(cap=SAMPLE)),
        _workers(questions),
        *_gates(questions.gates(limit=MOST_GATES), provider),
        *_duplicates(questions.duplicate_calls()),
        _gauge(
            "worker_oldest_snapshot_age_seconds",
            "Age of the oldest snapshot that keeps dead rows of this database from being removed, as far as the "
            "worker's role may see: all of them as a member of pg_monitor.",
            questions.oldest_snapshot(),
        ),
        *_maintenance(questions.maintenance()),
    ]


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """A gauge without a value has no sample."""
    return GaugeMetricFamily(name, text, value)


def _jobs(counts: Sequence[Count]) -> Iterable[Metric]:
    for count in counts:
        yield _gauge(f"worker_jobs_{count.status}", f"{STATUSES[count.status]}, {ESTIMATED}.", count.jobs)
    total = sum(count.jobs for count in counts)
    yield _gauge(
        "worker_jobs_total", f"Jobs in the table in any state, {ESTIMATED}. Pruned ones are gone from it.", total
    )
    exact = all(count.exact for count in counts)
    yield _gauge("worker_jobs_exact", "1 if every number of jobs was counted, 0 if one is an estimate.", int(exact))


def _lanes(lanes: Sequence[Lane], provider: Label) -> Iterable[Metric]:
    age = GaugeMetricFamily(
        "worker_oldest_pending_age_seconds",
        "Seconds for which the job has been due that has waited for longest, of those first in line for a provider.",
        labels=["provider"],
    )
    serving = GaugeMetricFamily(
        "worker_lane_workers", "Living workers that serve a provider for which jobs wait.", labels=["provider"]
    )
    longest: dict[str, Lane] = {}
    for lane in lanes:  # the longest wait comes first, and stands for all providers that have no name here
        longest.setdefault(provider.of(lane.provider), lane)
    for name, lane in longest.items():
        age.add_metric([name], lane.seconds)
        serving.add_metric([name], lane.workers)
    yield age
    yield serving


def _hour(spans: Sequence[Span]) -> Iterable[Metric]:
    [hour] = [span for span in spans if span.span == "hour"]
    ended = hour.completed + hour.failed
    yield _gauge(
        "worker_average_job_time",
        "Mean seconds from first start to completion of the jobs that the fleet completed within the last hour.",
        hour.mean_seconds,
    )
    yield _gauge(
        "worker_success_rate",
        "Share, from 0 to 1, of completed jobs among those that the fleet completed or failed within the last hour.",
        hour.completed / ended if ended else None,
    )
    charged = "Credits for the jobs that the fleet completed within the last hour."
    yield _gauge("worker_hour_credits_charged", charged, hour.credits_charged)
    refunds = "Refunds of the last hour in the whole fleet, whoever caused them."
    yield _gauge("worker_hour_refunds", refunds, hour.refunds)
    yield _gauge("worker_hour_credits_refunded", "Credits given back by these refunds.", hour.credits_refunded)


def _workers(questions: Questions) -> Metric:
    alive = sum(worker.state != "silent" for worker in questions.workers(limit=MOST_WORKERS))
    return _gauge("worker_active_workers", "Workers of the fleet that were heard of within two minutes.", alive)


def _gates(gates: Sequence[KeyGate], provider: Label) -> Iterable[Metric]:
    names = ["provider", "key"]
    state = GaugeMetricFamily(
        "worker_gate_state",
        "1 for the state of a provider's key, 0 for the others: ok, limited (it said 429), open (the breaker is), "
        "probing (one job tries whether it works again). Keys that no living worker holds are left out.",
        labels=[*names, "state"],
    )
    limit = GaugeMetricFamily("worker_gate_calls_per_minute", "Calls that a key allows in a minute.", labels=names)
    used = GaugeMetricFamily("worker_gate_used", "Calls with a key within the last minute.", labels=names)
    for gate in gates:
        if gate.workers:
            key = [provider.of(gate.provider), gate.key_label]
            for known in GATE_STATES:
                state.add_metric([*key, known], int(gate.state == known))
            limit.add_metric(key, gate.calls_per_minute)
            used.add_metric(key, gate.used)
    return [state, limit, used]


def _duplicates(found: Duplicates) -> Iterable[Metric]:
    may = "of the last day that were, or may have been, paid for more than once"
    yield _gauge("worker_duplicate_call_jobs", f"Jobs {may}.", found.jobs)
    yield _gauge("worker_duplicate_calls", f"Calls beyond the first for jobs {may}.", found.calls)
    cost = "What users pay for as many images, in credits; providers do not tell their price."
    yield _gauge("worker_duplicate_calls_credits", cost, found.credits)


def _maintenance(tasks: Sequence[MaintenanceRow]) -> Iterable[Metric]:
    done = GaugeMetricFamily(
        "worker_maintenance_age_seconds",
        "Seconds since a task of maintenance was done to its end by anybody; without a sample until it was.",
        labels=["task"],
    )
    broken = GaugeMetricFamily(
        "worker_ledger_violations",
        "Rows that break an invariant of the books, up to 100 each, when they were last checked (task audit; "
        "generation-worker credits audit checks them now). Without a sample where the check took too long.",
        labels=["invariant"],
    )
    for task in tasks:
        if task.seconds is not None:
            done.add_metric([task.name], task.seconds)
        for invariant, rows in (task.found or {}).get("violations", {}).items():
            if rows is not None:
                broken.add_metric([invariant], rows)
    return [done, broken]


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
