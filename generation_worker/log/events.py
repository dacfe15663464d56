"""Writes the worker's events as log lines."""

from __future__ import annotations

import logging
from typing import Any

from structlog.contextvars import bind_contextvars

from generation_worker.events import Events
from generation_worker.log.setup import AT_WORK, get_logger

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
"""Everything else is worth an info line."""


NAMES = ("job", "attempt", "user", "trace_id", "span_id")
"""What says which attempt a line is about."""
HIDDEN = ("trace", "traceparent")
"""What is told by trace_id and span_id."""


def log_events(events: Events, level: str, *, traced: bool = False) -> None:
    """Log what happens, from ``level`` on: what would not be written is not even put together.

    Each line about a job names its trace, and, if spans are ``traced``, that of the attempt.
    """
    logger = get_logger("generation_worker")
    lowest = logging.getLevelNamesMapping()[level.upper()]

    def shown(fields: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in fields.items() if value is not None and key not in HIDDEN}
        if trace := fields.get("trace"):
            told["trace_id"] = trace.trace_id
            if traced:
                told["span_id"] = trace.span_id
        return told

    def write(name: str, fields: dict[str, Any]) -> None:
        if name == "attempt.started":
            # It is emitted in the thread that works: what libraries log there names the job too.
            bind_contextvars(**{AT_WORK: lambda: {key: value for key, value in shown(fields).items() if key in NAMES}})
        severity = LEVELS.get(name, logging.INFO)
        if severity >= lowest:
            logger.log(severity, name, **shown(fields))

    events.subscribe(write)
