"""Events that are counted as they come."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

COUNTED = {
    "lease.reclaimed": ("worker_reclaims", "Jobs that this process took over from a worker that fell silent."),
    "lease.lost": (
        "worker_lost_leases",
        "Attempts of this process whose outcome was refused: somebody else had the job.",
    ),
    "job.refused": (
        "worker_jobs_refused",
        "Jobs that failed at their claim, because the balance did not cover the cost.",
    ),
    "job.expired": (
        "worker_jobs_expired",
        "Jobs that this process failed because they still waited after their deadline.",
    ),
    "call.resumed": ("worker_calls_resumed", "Calls whose answer was fetched instead of being paid for again."),
    "image.staged": (
        "worker_images_staged",
        "Paid images that the database keeps because the storage did not take them.",
    ),
    "answer.rejected": ("worker_answers_rejected", "Answers that were paid for and are no image."),
}
"""The names of their counters, and what these say."""

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
"""Those that should not happen, in one counter together."""


def tallies(registry: CollectorRegistry) -> dict[str, Counter]:
    """The counters, by the events that they count."""
    counted = {event: Counter(name, text, registry=registry) for event, (name, text) in COUNTED.items()}
    faults = Counter(
        "worker_faults", "What should not happen, by the name of its log line.", ["event"], registry=registry
    )
    return {**counted, **{event: faults.labels(event) for event in FAULTS}}
