"""The fleet's gauges: asked seldom, missing while the database is away, bounded in their labels."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from generation_worker.db.fleet import Gate, LaneFront, MaintenanceTask, WorkerProcess
from generation_worker.db.jobs import DuplicateCalls
from generation_worker.events import Events
from generation_worker.metrics import Metrics
from generation_worker.metrics.fleet import CACHE_SECONDS, FleetCollector
from generation_worker.metrics.meters import providers
from generation_worker.ports import StoreUnavailable
from tests.metrics.reading import OPENMETRICS, Samples, samples, series, value
from tests.metrics.scripted_queries import ScriptedQueries
from tests.worker.scripted_store import Clock, RecordedEvents

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIXED = [
    "worker_jobs_total",
    "worker_jobs_pending",
    "worker_jobs_processing",
    "worker_jobs_completed",
    "worker_jobs_failed",
    "worker_active_workers",
    "worker_average_job_time",
    "worker_success_rate",
]
"""The names that dashboards have had for long."""


def lane(provider: str, seconds: float, workers: int = 1) -> LaneFront:
    return LaneFront(provider, uuid4(), "ada", "text_to_image", NOW, seconds, workers)


def worker(state: str) -> WorkerProcess:
    return WorkerProcess("w", state, 0, 0, 5, ["local"], "0", NOW, NOW, 1.0)


def gate(key: str, state: str, workers: int = 1) -> Gate:
    return Gate(key, "gemini", 60, 12, state, None, 0.0, None, 0, workers)


@pytest.fixture
def queries() -> ScriptedQueries:
    return ScriptedQueries()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def metrics(queries: ScriptedQueries, events: Events) -> Metrics:
    made = Metrics(events, ("gemini", "local"))
    made.watch(
        lambda: {
            "version": "1",
            **dict.fromkeys(("concurrency", "busy", "stuck", "unwritten", "ready", "listening"), 1),
        },
        queries,
    )
    return made


def scraped(metrics: Metrics) -> Samples:
    return samples(*metrics.scrape(OPENMETRICS, fleet=True))


def test_the_fixed_names(queries: ScriptedQueries, metrics: Metrics) -> None:
    queries.jobs = {"pending": 4, "processing": 2, "completed": 30, "failed": 10, "cancelled": 1}
    queries.hour = queries.hour._replace(completed=9, failed=3, cancelled=5, mean_seconds=8.5)
    queries.fleet = [worker("busy"), worker("idle"), worker("asleep"), worker("stuck"), worker("silent")]
    found = scraped(metrics)
    assert [value(found, name) for name in FIXED] == [47, 4, 2, 30, 10, 4, 8.5, 0.75]
    assert value(found, "worker_jobs_exact") == 1


def test_what_nobody_can_know_has_no_value(metrics: Metrics) -> None:
    found = scraped(metrics)
    assert [value(found, name) for name in FIXED[-2:]] == [None, None]
    assert value(found, "worker_jobs_total") == 0


def test_an_estimate_is_called_one(queries: ScriptedQueries, metrics: Metrics) -> None:
    queries.exact = False
    assert value(scraped(metrics), "worker_jobs_exact") == 0


def test_money_of_the_last_hour_and_what_was_paid_twice(queries: ScriptedQueries, metrics: Metrics) -> None:
    queries.hour = queries.hour._replace(credits_charged=90, refunds=2, credits_refunded=7)
    queries.duplicates = DuplicateCalls(2, 3, 12, uuid4())
    found = scraped(metrics)
    assert value(found, "worker_hour_credits_charged") == 90
    assert value(found, "worker_hour_refunds") == 2
    assert value(found, "worker_hour_credits_refunded") == 7
    assert value(found, "worker_duplicate_call_jobs") == 2
    assert value(found, "worker_duplicate_calls") == 3
    assert value(found, "worker_duplicate_calls_credits") == 12


def test_gates_of_keys_that_somebody_holds(queries: ScriptedQueries, metrics: Metrics) -> None:
    queries.keys = [gate("gemini-1", "ok"), gate("gemini-2", "open"), gate("gone", "open", workers=0)]
    found = scraped(metrics)
    states = {key: each for key, each in series(found, "worker_gate_state").items() if each}
    assert states == {("gemini-1", "gemini", "ok"): 1, ("gemini-2", "gemini", "open"): 1}
    assert value(found, "worker_gate_state", provider="gemini", key="gemini-2", state="ok") == 0
    assert value(found, "worker_gate_used", provider="gemini", key="gemini-1") == 12
    assert value(found, "worker_gate_calls_per_minute", provider="gemini", key="gemini-1") == 60


def test_the_longest_wait_stands_for_lanes_without_a_name_here(queries: ScriptedQueries, metrics: Metrics) -> None:
    queries.lanes = [lane(f"made-up-{n}", 900 - n, workers=0) for n in range(200)] + [lane("local", 4)]
    assert series(scraped(metrics), "worker_oldest_pending_age_seconds") == {("other",): 900, ("local",): 4}


def test_the_books_as_they_were_last_checked(queries: ScriptedQueries, metrics: Metrics) -> None:
    found_then = {"violations": {"balances_are_never_negative": 2, "processing_means_leased": 0, "too_slow": None}}
    queries.tasks = [MaintenanceTask("audit", 60.0, None, found_then), MaintenanceTask("prune", None, "down", None)]
    found = scraped(metrics)
    assert series(found, "worker_ledger_violations") == {
        ("balances_are_never_negative",): 2,
        ("processing_means_leased",): 0,
    }
    assert series(found, "worker_maintenance_age_seconds") == {("audit",): 60}


def test_many_scrapers_cost_one_question(queries: ScriptedQueries, events: Events) -> None:
    clock = Clock()
    fleet = FleetCollector(queries, providers(["local"]), events, clock=clock)
    assert {len(list(fleet.collect())) for _ in range(50)} == {len(list(fleet.collect()))}
    assert queries.asked == 1
    clock.advance(CACHE_SECONDS)
    fleet.collect()
    assert queries.asked == 2


def test_a_database_that_is_away_costs_the_fleets_figures_and_nothing_else(
    queries: ScriptedQueries, metrics: Metrics, events: Events
) -> None:
    told = RecordedEvents(events)
    queries.error = StoreUnavailable("away")
    found = scraped(metrics)
    assert value(found, "worker_database_up") == 0
    assert [value(found, name) for name in FIXED] == [None] * len(FIXED)
    assert value(found, "worker_reclaims_total") == 0
    assert value(found, "worker_busy") == 1
    scraped(metrics)
    assert queries.asked == 1, "while it is away it is not asked at each scrape either"
    assert told.names == [], "whoever needs the database has said so already"


def test_it_comes_back(queries: ScriptedQueries, events: Events) -> None:
    clock = Clock()
    fleet = FleetCollector(queries, providers(["local"]), events, clock=clock)
    queries.error = StoreUnavailable("away")
    assert len(list(fleet.collect())) == 1
    queries.error = None
    clock.advance(CACHE_SECONDS)
    assert len(list(fleet.collect())) > 1


def test_a_fault_of_ours_is_told_and_costs_no_scrape(
    queries: ScriptedQueries, metrics: Metrics, events: Events
) -> None:
    told = RecordedEvents(events)
    queries.error = KeyError("x")
    found = scraped(metrics)
    assert value(found, "worker_database_up") == 0
    assert told.fields("fleet.unknown")["exc_info"] is queries.error


def test_without_the_fleet_nobody_is_asked(queries: ScriptedQueries, metrics: Metrics) -> None:
    found = samples(*metrics.scrape(OPENMETRICS, fleet=False))
    assert queries.asked == 0
    assert value(found, "worker_database_up") is None
    assert value(found, "worker_busy") == 1


def test_two_workers_of_one_process_have_metrics_of_their_own(events: Events) -> None:
    other = Metrics(Events(), ("local",))
    Metrics(events, ("local",))
    events.emit("lease.reclaimed")
    assert value(scraped(other), "worker_reclaims_total") == 0
