"""Counters and histograms of one process: attempts, credits, provider calls, webhooks, streams, faults."""

import math
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from generation_worker.domain import errors, job, payload

WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
IMAGES = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
DELIVERING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)
STORING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
"""Buckets in seconds. An image takes seconds to minutes, an attempt ten minutes at most by default."""

OTHER = "other"


class Label:
    """The known values of one label, so that no user can create a series; any other value becomes ``other``."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = frozenset(known)

    def of(self, value: str | None) -> str:
        return value if value in self.known else OTHER


def codes(root: type[errors.JobError] = errors.JobError) -> set[str]:
    """The codes of all errors that an attempt can end with."""
    return {root.code}.union(*(codes(child) for child in root.__subclasses__()))


def providers(names: Iterable[str]) -> Label:
    """The providers called ``names``, and the lane of jobs that need none."""
    return Label([*names, job.NO_PROVIDER])


KIND = Label(payload.KINDS)
OUTCOME = Label(("completed", "failed", "blocked", "rate_limited", "cancelled", "released", "crashed"))
DELIVERY = Label(("delivered", "failed", "dead", "lost"))
STREAM_LIMIT = Label(("streams", "jobs", "key"))
CALL_OUTCOME = Label(["ok", "stopped", *codes()])


class AttemptMeters:
    """Durations and outcomes of attempts."""

    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        self._provider = provider
        self._money = MoneyMeters(registry)
        self._wait = Histogram(
            "worker_wait_seconds",
            "Seconds from the moment a job might have started to its claim by this process.",
            ["provider"],
            buckets=WAITS,
            registry=registry,
        )
        self._attempt = Histogram(
            "worker_attempt_seconds",
            "Seconds from a claim of this process to the settlement, by how the attempt ended.",
            ["outcome"],
            buckets=IMAGES,
            registry=registry,
        )
        self._attempts = Counter(
            "worker_attempts",
            "Attempts that this process has settled, by how they ended.",
            ["kind", "provider", "outcome"],
            registry=registry,
        )

    def started(self, fields: dict[str, Any]) -> None:
        if math.isfinite(waited := fields["waited"]):  # a date without an end has no distance
            self._wait.labels(self._provider.of(fields["provider"])).observe(max(waited, 0.0))

    def settled(self, fields: dict[str, Any]) -> None:
        outcome = OUTCOME.of(fields["outcome"])
        self._attempts.labels(KIND.of(fields["kind"]), self._provider.of(fields["provider"]), outcome).inc()
        self._attempt.labels(outcome).observe(fields["seconds"])
        self._money.count(fields["status"], fields["cost"])


class MoneyMeters:
    """Credits that were charged and refunded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._charged = Counter(
            "worker_credits_charged",
            "Credits for jobs that this process completed. A job is debited when it starts, and counted at its end.",
            registry=registry,
        )
        self._refunds = Counter(
            "worker_refunds",
            "Refunds for jobs that this process settled as failed or cancelled. Not those of waiting jobs that were "
            "cancelled or expired: worker_hour_refunds has all.",
            registry=registry,
        )
        self._refunded = Counter(
            "worker_credits_refunded", "Credits given back by the refunds in worker_refunds_total.", registry=registry
        )

    def count(self, status: str, cost: int) -> None:
        if status == "completed":
            self._charged.inc(cost)
        elif status in ("failed", "cancelled") and cost:
            self._refunds.inc()
            self._refunded.inc(cost)


NOT_MADE = ("stopped", "gate_closed")
"""Outcomes of calls whose duration is not the provider's."""


class CallMeters:
    """Durations and outcomes of provider calls, and of storing their images."""

    def __init__(self, registry: CollectorRegistry, provider: Label) -> None:
        self._provider = provider
        self._generation = Histogram(
            "worker_generation_seconds",
            "Seconds that a provider took for one call of this process, by whether it returned an image.",
            ["provider", "result"],
            buckets=IMAGES,
            registry=registry,
        )
        self._storage = Histogram(
            "worker_storage_seconds",
            "Seconds in which this process stored an image with its thumbnail, tries included.",
            buckets=STORING,
            registry=registry,
        )
        self._calls = Counter(
            "worker_provider_calls",
            "Calls that this process made to providers, by outcome: ok, the error's code, or stopped by the worker.",
            ["provider", "outcome"],
            registry=registry,
        )

    def finished(self, fields: dict[str, Any]) -> None:
        provider, outcome = self._provider.of(fields["provider"]), CALL_OUTCOME.of(fields["outcome"])
        self._calls.labels(provider, outcome).inc()
        if outcome not in NOT_MADE:
            result = "ok" if outcome == "ok" else "failed"
            self._generation.labels(provider, result).observe(fields["milliseconds"] / 1000)

    def stored(self, fields: dict[str, Any]) -> None:
        self._storage.observe(fields["seconds"])


COUNTED = {
    "lease.reclaimed": ("worker_reclaims", "Jobs that this process reclaimed after their lease had expired."),
    "lease.lost": (
        "worker_lost_leases",
        "Attempts of this process whose outcome was not written: another worker had the job.",
    ),
    "job.refused": (
        "worker_jobs_refused",
        "Jobs that failed at their claim, because the balance did not cover the cost.",
    ),
    "job.expired": (
        "worker_jobs_expired",
        "Jobs that this process failed because they still waited after their deadline.",
    ),
    "call.resumed": ("worker_calls_resumed", "Calls whose result was fetched instead of being paid for again."),
    "image.staged": (
        "worker_images_staged",
        "Paid images that were staged in the database because the storage failed.",
    ),
    "answer.rejected": ("worker_answers_rejected", "Provider responses that were paid for and are not an image."),
}
"""The names and texts of counters, by their events."""

FAULTS = (
    "attempt.broke",
    "call.unrecorded",
    "database.unavailable",
    "delivery.broke",
    "delivery.unrecorded",
    "fleet.unknown",
    "loop.failed",
    "maintenance.failed",
    "settlement.refused",
    "thread.stuck",
)
"""Events that should not happen; one counter has them all."""


def tallies(registry: CollectorRegistry) -> dict[str, Counter]:
    """The counters, by the events that they count."""
    counted = {event: Counter(name, text, registry=registry) for event, (name, text) in COUNTED.items()}
    faults = Counter(
        "worker_faults", "Events that should not happen, by the name of their log line.", ["event"], registry=registry
    )
    return {**counted, **{event: faults.labels(event) for event in FAULTS}}


class DeliveryMeters:
    """Tries to deliver webhooks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "worker_webhook_deliveries",
            "Tries of this process to deliver a webhook: delivered, failed (tried again later), dead (given up) or "
            "lost (another worker had the delivery by then).",
            ["outcome"],
            registry=registry,
        )
        self._delivery = Histogram(
            "worker_webhook_seconds",
            "Seconds until an endpoint answered this process, or the try failed.",
            buckets=DELIVERING,
            registry=registry,
        )

    def ended(self, fields: dict[str, Any]) -> None:
        self._deliveries.labels(DELIVERY.of(fields["outcome"])).inc()
        self._delivery.observe(fields["seconds"])


class StreamMeters:
    """Event streams that were not opened."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "worker_event_streams_refused",
            "Streams of events that this process did not open, by the limit: streams (API_MOST_STREAMS), jobs (that "
            "all streams together follow) or key (API_STREAMS_PER_KEY).",
            ["limit"],
            registry=registry,
        )
        for limit in STREAM_LIMIT.known:
            self._refused.labels(limit)

    def refused(self, fields: dict[str, Any]) -> None:
        self._refused.labels(STREAM_LIMIT.of(fields["limit"])).inc()
