"""Gauges of the whole fleet, from the database: queried at most every few seconds, however often Prometheus scrapes."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from generation_worker.db import fleet, jobs, query, server
from generation_worker.events import Events
from generation_worker.metrics.meters import Label
from generation_worker.ports import StoreUnavailable

SAMPLE = 10_000
"""How many of the latest final jobs are read for an hour; with more of them its figures are scaled up."""
MOST_WORKERS = 1000
MOST_GATES = 100
CACHE_SECONDS = 5.0
"""How long one result serves all scrapes, a missing one too."""
GATE_STATES = ("ok", "limited", "open", "probing")
STATUSES = {
    "pending": "Jobs that may be claimed now",
    "scheduled": "Jobs that wait for their time: delayed by the caller, or backing off after a failed attempt",
    "rate_limited": "Jobs that wait because a provider limited its calls",
    "processing": "Jobs that a worker holds now",
    "completed": "Jobs in the table that have their image",
    "failed": "Jobs in the table that ended without an image",
    "cancelled": "Jobs in the table that were stopped on request",
}
ESTIMATED = "in the whole fleet; an estimate beyond 10,000"


def fleet_metrics(queries: query.Queries, provider: Label) -> list[Metric]:
    """All gauges of the fleet. Raises StoreUnavailable."""
    return [
        *_jobs(fleet.count_jobs_by_status(queries)),
        *_lanes(fleet.list_lane_fronts(queries), provider),
        *_hour(jobs.throughput(queries, cap=SAMPLE)),
        _workers(fleet.list_workers(queries, limit=MOST_WORKERS)),
        *_gates(fleet.list_gates(queries, limit=MOST_GATES), provider),
        *_duplicates(jobs.duplicate_calls(queries)),
        _gauge(
            "worker_oldest_snapshot_age_seconds",
            "Age of the oldest snapshot that keeps dead rows of this database from being removed, as far as the "
            "worker's role may see: all of them as a member of pg_monitor.",
            server.read_snapshot_age(queries),
        ),
        *_maintenance(fleet.list_maintenance_tasks(queries)),
    ]


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """A gauge without a value has no sample."""
    return GaugeMetricFamily(name, text, value)


def _jobs(counts: Sequence[jobs.JobCount]) -> Iterable[Metric]:
    for count in counts:
        yield _gauge(f"worker_jobs_{count.status}", f"{STATUSES[count.status]}, {ESTIMATED}.", count.jobs)
    total = sum(count.jobs for count in counts)
    yield _gauge(
        "worker_jobs_total", f"Jobs in the table in any state, {ESTIMATED}. Pruned ones are gone from it.", total
    )
    exact = all(count.exact for count in counts)
    yield _gauge("worker_jobs_exact", "1 if every number of jobs was counted, 0 if one is an estimate.", int(exact))


def _lanes(lanes: Sequence[fleet.LaneFront], provider: Label) -> Iterable[Metric]:
    age = GaugeMetricFamily(
        "worker_oldest_pending_age_seconds",
        "Seconds for which the job has been due that has waited for longest, of those first in line for a provider.",
        labels=["provider"],
    )
    serving = GaugeMetricFamily(
        "worker_lane_workers", "Living workers that serve a provider for which jobs wait.", labels=["provider"]
    )
    longest: dict[str, fleet.LaneFront] = {}
    for lane in lanes:  # the longest wait comes first, so it is the value of all providers with the label other
        longest.setdefault(provider.of(lane.provider), lane)
    for name, lane in longest.items():
        age.add_metric([name], lane.seconds)
        serving.add_metric([name], lane.workers)
    yield age
    yield serving


def _hour(spans: Sequence[jobs.Throughput]) -> Iterable[Metric]:
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
    refunds = "Refunds of the last hour in the whole fleet, with any cause."
    yield _gauge("worker_hour_refunds", refunds, hour.refunds)
    yield _gauge("worker_hour_credits_refunded", "Credits given back by these refunds.", hour.credits_refunded)


def _workers(workers: Sequence[fleet.WorkerProcess]) -> Metric:
    living = sum(worker.state != "silent" for worker in workers)
    return _gauge("worker_active_workers", "Workers of the fleet with a heartbeat within two minutes.", living)


def _gates(gates: Sequence[fleet.Gate], provider: Label) -> Iterable[Metric]:
    names = ["provider", "key"]
    state = GaugeMetricFamily(
        "worker_gate_state",
        "1 for the state of a provider's key, 0 for the others: ok, limited (it answered 429), open (the breaker is), "
        "probing (one job tests the provider). Keys that no living worker has are left out.",
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


def _duplicates(found: jobs.DuplicateCalls) -> Iterable[Metric]:
    may = "of the last day that were, or may have been, paid for more than once"
    yield _gauge("worker_duplicate_call_jobs", f"Jobs {may}.", found.jobs)
    yield _gauge("worker_duplicate_calls", f"Calls beyond the first for jobs {may}.", found.calls)
    cost = "What users pay for as many images, in credits; providers do not report their price."
    yield _gauge("worker_duplicate_calls_credits", cost, found.credits)


def _maintenance(tasks: Sequence[fleet.MaintenanceTask]) -> Iterable[Metric]:
    done = GaugeMetricFamily(
        "worker_maintenance_age_seconds",
        "Seconds since the last success of a maintenance task in the fleet; without a sample until the first one.",
        labels=["task"],
    )
    broken = GaugeMetricFamily(
        "worker_ledger_violations",
        "Rows that break an invariant of the ledger, up to 100 each, at its last check (task audit; "
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


class FleetCollector(Collector):
    """The gauges of the fleet. They are the same in every worker of a database, so any one may be scraped."""

    def __init__(
        self, queries: query.Queries, provider: Label, events: Events, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queries = queries
        self._provider = provider
        self._events = events
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: list[Metric] = []
        self._cached_until = clock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: registration must not query the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The gauges; only worker_database_up, which is 0, if the database does not answer."""
        with self._lock:
            if self._clock() >= self._cached_until:
                self._cached = self._query()
                self._cached_until = self._clock() + CACHE_SECONDS
            return self._cached

    def _query(self) -> list[Metric]:
        try:
            with self._queries.read_only() as questions:
                return [_up(1), *fleet_metrics(questions, self._provider)]
        except StoreUnavailable:
            return [_up(0)]
        except Exception as error:  # noqa: BLE001 - a bug here must not hide the metrics of this process
            self._events.emit("fleet.unknown", exc_info=error)
            return [_up(0)]


def _up(value: int) -> Metric:
    text = "1 if the database answered the queries for the fleet's metrics within seconds; else they are missing."
    return GaugeMetricFamily("worker_database_up", text, value)
