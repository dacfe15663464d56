"""Counters and histograms: what the events tell is counted, and nothing that a user says becomes a label."""

from __future__ import annotations

import math
from typing import Any

import pytest

from generation_worker.events import Events
from generation_worker.metrics import Metrics
from generation_worker.metrics.meters import COUNTED, FAULTS, STREAM_LIMIT
from tests.metrics.reading import OPENMETRICS, Samples, samples, series, value

STARTED = {"job": "1", "attempt": 1, "user": "ada", "kind": "text_to_image", "provider": "local", "waited": 3.0}
SETTLED = {**STARTED, "outcome": "completed", "status": "completed", "cost": 2, "seconds": 12.0, "error_message": None}
CALL = {"job": "1", "user": "ada", "attempt": 1, "provider": "gemini", "outcome": "ok", "milliseconds": 9000}


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def metrics(events: Events) -> Metrics:
    return Metrics(events, ("gemini", "local"))


def scraped(metrics: Metrics) -> Samples:
    return samples(*metrics.scrape(OPENMETRICS, fleet=True))


def test_waiting_is_measured_up_to_the_claim(events: Events, metrics: Metrics) -> None:
    events.emit("attempt.started", **STARTED)
    events.emit("attempt.started", **{**STARTED, "waited": 40.0})
    found = scraped(metrics)
    assert value(found, "worker_wait_seconds_count", provider="local") == 2
    assert value(found, "worker_wait_seconds_sum", provider="local") == 43
    assert value(found, "worker_wait_seconds_bucket", provider="local", le="5.0") == 1


@pytest.mark.parametrize(("waited", "counted"), [(-0.5, 1), (math.inf, None)])
def test_a_wait_without_a_length_spoils_no_sum(
    events: Events, metrics: Metrics, waited: float, counted: int | None
) -> None:
    events.emit("attempt.started", **{**STARTED, "waited": waited})
    found = scraped(metrics)
    assert value(found, "worker_wait_seconds_count", provider="local") == counted
    assert value(found, "worker_wait_seconds_sum", provider="local") == (0 if counted else None)


def test_calls_are_counted_by_outcome_and_timed_if_they_were_made(events: Events, metrics: Metrics) -> None:
    for outcome in ("ok", "ok", "provider_timeout", "gate_closed", "stopped"):
        events.emit("call.finished", **{**CALL, "outcome": outcome})
    found = scraped(metrics)
    assert series(found, "worker_provider_calls_total") == {
        ("ok", "gemini"): 2,
        ("provider_timeout", "gemini"): 1,
        ("gate_closed", "gemini"): 1,
        ("stopped", "gemini"): 1,
    }
    assert series(found, "worker_generation_seconds_count") == {("gemini", "ok"): 2, ("gemini", "failed"): 1}
    assert value(found, "worker_generation_seconds_sum", provider="gemini", result="ok") == 18


def test_storing_is_timed(events: Events, metrics: Metrics) -> None:
    events.emit("image.stored", job="1", user="ada", attempt=1, bytes=1000, seconds=0.2)
    found = scraped(metrics)
    assert value(found, "worker_storage_seconds_sum") == 0.2
    assert value(found, "worker_storage_seconds_bucket", le="0.25") == 1


def test_tries_to_tell_an_endpoint_are_counted_and_timed(events: Events, metrics: Metrics) -> None:
    for outcome, seconds in (("delivered", 0.25), ("failed", 15.0), ("delivered", 0.5), ("unheard of", 1.0)):
        events.emit("delivery.ended", endpoint="e", type="job.completed", outcome=outcome, seconds=seconds)
    found = scraped(metrics)
    assert series(found, "worker_webhook_deliveries_total") == {("delivered",): 2, ("failed",): 1, ("other",): 1}
    assert value(found, "worker_webhook_seconds_sum") == 16.75


def test_attempts_are_counted_and_timed_by_how_they_ended(events: Events, metrics: Metrics) -> None:
    events.emit("attempt.settled", **SETTLED)
    events.emit("attempt.settled", **{**SETTLED, "outcome": "crashed", "status": "scheduled"})
    found = scraped(metrics)
    assert value(found, "worker_attempts_total", kind="text_to_image", provider="local", outcome="completed") == 1
    assert value(found, "worker_attempts_total", kind="text_to_image", provider="local", outcome="crashed") == 1
    assert value(found, "worker_attempt_seconds_sum", outcome="crashed") == 12


def test_money_is_counted_when_it_is_settled(events: Events, metrics: Metrics) -> None:
    events.emit("attempt.settled", **SETTLED)
    for status, cost in [("failed", 3), ("cancelled", 4), ("failed", 0), ("scheduled", 5), ("pending", 5)]:
        events.emit("attempt.settled", **{**SETTLED, "status": status, "cost": cost})
    found = scraped(metrics)
    assert value(found, "worker_credits_charged_total") == 2
    assert value(found, "worker_refunds_total") == 2
    assert value(found, "worker_credits_refunded_total") == 7


@pytest.mark.parametrize("event", COUNTED)
def test_what_is_worth_counting_is_there_before_it_happens(events: Events, metrics: Metrics, event: str) -> None:
    name = f"{COUNTED[event][0]}_total"
    assert value(scraped(metrics), name) == 0
    events.emit(event, job="1", user="ada")
    assert value(scraped(metrics), name) == 1


def test_faults_are_counted_by_the_names_of_their_log_lines(events: Events, metrics: Metrics) -> None:
    events.emit("loop.failed", loop="poller", error="x")
    found = series(scraped(metrics), "worker_faults_total")
    assert found == {(event,): float(event == "loop.failed") for event in FAULTS}


HOSTILE = ['ada"} 1\nworker_jobs_total 9', "\x00", "a" * 10_000, "ok\\", "ünï\u2028", "{}", ""]


def test_nothing_that_users_or_providers_say_becomes_a_label(events: Events, metrics: Metrics) -> None:
    """However many of them there are, and whatever they write."""
    said = [*HOSTILE, *(f"user-{n}" for n in range(500))]
    before = {name for name, _ in scraped(metrics)}
    for words in said:
        names: dict[str, Any] = dict.fromkeys(
            ("job", "user", "kind", "provider", "outcome", "error_message", "error"), words
        )
        events.emit("attempt.started", **{**STARTED, **names})
        events.emit("call.finished", **{**CALL, **names})
        events.emit("image.stored", **names, attempt=1, bytes=1, seconds=1.0)
        events.emit("delivery.ended", **names, type=words, endpoint=words, seconds=1.0)
        events.emit("stream.refused", **names, limit=words)
        events.emit("attempt.settled", **{**SETTLED, **names, "error_code": words})
        for event in (*COUNTED, *FAULTS, words):
            events.emit(event, **names, model=words, prompt=words)
    found = scraped(metrics)
    labels = {label for _, pairs in found for key, label in pairs if key not in ("le", "event", "result")}
    assert labels - STREAM_LIMIT.known == {"other"}
    assert len(found) < len(before) + 200
    assert not [key for key in found if "user" in str(key) or "ada" in str(key)]
