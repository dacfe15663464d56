"""Writes the worker's events as log lines."""

import logging
from typing import Any

from structlog.contextvars import bind_contextvars

from generation_worker.events import Events
from generation_worker.log.setup import ATTEMPT_NAMES, get_logger

LEVELS = {
    "attempt.started": logging.DEBUG,
    "jobs.held": logging.DEBUG,
    "call.noticed": logging.DEBUG,
    "delivery.ended": logging.DEBUG,
    "jobs.promoted": logging.DEBUG,
    "webhook.received": logging.DEBUG,
    "answer.rejected": logging.WARNING,
    "attempt.broke": logging.ERROR,
    "breaker.closed": logging.WARNING,
    "breaker.opened": logging.ERROR,
    "call.finished": logging.DEBUG,
    "call.resumed": logging.WARNING,
    "call.unrecorded": logging.WARNING,
    "database.unavailable": logging.WARNING,
    "delivery.broke": logging.ERROR,
    "delivery.dead": logging.WARNING,
    "delivery.unrecorded": logging.WARNING,
    "endpoint.disabled": logging.ERROR,
    "fleet.unknown": logging.ERROR,
    "gate.closed": logging.WARNING,
    "image.staged": logging.WARNING,
    "image.stored": logging.DEBUG,
    "job.expired": logging.WARNING,
    "job.refused": logging.WARNING,
    "job.unclaimable": logging.ERROR,
    "lease.lost": logging.WARNING,
    "lease.reclaimed": logging.WARNING,
    "ledger.violated": logging.ERROR,
    "listen.deaf": logging.WARNING,
    "loop.failed": logging.ERROR,
    "maintenance.failed": logging.ERROR,
    "promotion.failed": logging.ERROR,
    "settlement.refused": logging.ERROR,
    "stream.refused": logging.DEBUG,
    "thread.stuck": logging.ERROR,
    "traces.unsent": logging.WARNING,
    "webhook.refused": logging.WARNING,
}
"""All other events are logged at info."""
ATTEMPT_FIELDS = ("job", "attempt", "user", "trace_id", "span_id")
"""The fields that identify the attempt of a line."""
OMITTED = ("trace", "traceparent")
"""Fields that trace_id and span_id replace."""


def log_events(events: Events, level: str, *, traced: bool = False) -> None:
    """Log every event of at least ``level``; a line below it is not even built.

    Each line about a job has its trace id and, if spans are ``traced``, the span id of the attempt.
    """
    logger = get_logger("generation_worker")
    lowest = logging.getLevelNamesMapping()[level.upper()]

    def shown(fields: dict[str, Any]) -> dict[str, Any]:
        line = {key: value for key, value in fields.items() if value is not None and key not in OMITTED}
        if trace := fields.get("trace"):
            line["trace_id"] = trace.trace_id
            if traced:
                line["span_id"] = trace.span_id
        return line

    def write(name: str, fields: dict[str, Any]) -> None:
        if name == "attempt.started":
            # Emitted in the attempt's own thread, so lines of libraries in that thread name the job too.
            bind_contextvars(
                **{ATTEMPT_NAMES: lambda: {key: value for key, value in shown(fields).items() if key in ATTEMPT_FIELDS}}
            )
        severity = LEVELS.get(name, logging.INFO)
        if severity >= lowest:
            logger.log(severity, name, **shown(fields))

    events.subscribe(write)
