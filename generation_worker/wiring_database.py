"""Puts together what a worker does in its database, and on which connections."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from psycopg_pool import ConnectionPool

from generation_worker.config import ConfigurationError, DatabaseAddress, Settings
from generation_worker.db.audit import count_violations
from generation_worker.db.limits import Limits
from generation_worker.db.outbox import PostgresOutbox
from generation_worker.db.pool import OwnConnection, open_pool
from generation_worker.db.readiness import problems_of
from generation_worker.db.signals import PostgresSignals
from generation_worker.db.store import PostgresStore
from generation_worker.events import Events
from generation_worker.fetch.connector import Connector
from generation_worker.fetch.poster import WebPoster
from generation_worker.ports import Store
from generation_worker.worker.auditor import TASK, Auditor
from generation_worker.worker.courier import Courier
from generation_worker.worker.crew import FOLLOWED
from generation_worker.worker.heartbeat import BEATS_PER_LEASE, STATEMENTS_PER_BEAT
from generation_worker.worker.maintenance import Task

AUDIT_SECONDS = 15.0
"""Longest time to check one invariant of the books, and so to hold back old rows for it."""


def check_database(address: DatabaseAddress, events: Events) -> None:
    """Wait until the database answers, and see that it is one we can work on. Raises ConfigurationError."""

    def waiting(times: int, error: str) -> None:
        events.emit("database.unavailable", database=address.label, times=times, error=error)

    if problems := problems_of(address.conninfo, address.label, waiting=waiting):
        raise ConfigurationError([f"DATABASE_URL: {problem}" for problem in problems])


def build_pool(stack: ExitStack, address: DatabaseAddress, concurrency: int, events: Events) -> ConnectionPool[Any]:
    """Attempts hold no connection while they wait for a provider, so a few serve many."""

    def size(threads: int) -> int:
        return max(2, address.pool_size or min(4 + threads // 4, 20))

    def follow(event: str, fields: Mapping[str, Any]) -> None:
        if event == FOLLOWED:
            pool.resize(min_size=1, max_size=size(fields["concurrency"]))

    session, _ = _limits(address, Limits())
    pool = open_pool(
        address.conninfo,
        prepare=not address.pooled,
        size=size(concurrency),
        timeout=address.pool_timeout or 10.0,
        limits=session,
    )
    stack.enter_context(pool)
    stack.callback(events.subscribe(follow))
    return pool


def build_store(pool: ConnectionPool[Any], address: DatabaseAddress) -> PostgresStore:
    _, statement = _limits(address, Limits())
    return PostgresStore(pool, limits=statement)


def build_heartbeat_store(stack: ExitStack, address: DatabaseAddress, lease: float) -> PostgresStore:
    """Which is done, or has failed, before the next beat is due."""
    beat = lease / BEATS_PER_LEASE
    session, statement = _limits(address, Limits.sharing(beat, statements=STATEMENTS_PER_BEAT))
    own = OwnConnection(address.conninfo, prepare=not address.pooled, limits=session)
    stack.callback(own.close)
    return PostgresStore(own, limits=statement)


def build_signals(settings: Settings) -> PostgresSignals | None:
    """LISTEN needs a direct address; without one the worker polls."""
    direct = settings.direct_database()
    return PostgresSignals(direct.conninfo) if settings.listen_notify and direct else None


def build_audit(settings: Settings, pool: ConnectionPool[Any], store: Store, events: Events) -> Task:
    audit = partial(count_violations, pool, max_paid_calls=settings.max_paid_calls, seconds=AUDIT_SECONDS)
    return Task(TASK, settings.cleanup_interval, Auditor(store, audit, events).check)


def build_courier(settings: Settings, pool: ConnectionPool[Any], address: DatabaseAddress, events: Events) -> Courier:
    _, statement = _limits(address, Limits())
    connector = Connector(allow_private=settings.webhook_allow_private)
    poster = WebPoster(connector, timeout=settings.webhook_timeout)
    return Courier(PostgresOutbox(pool, limits=statement), poster, events)


def _limits(address: DatabaseAddress, limits: Limits) -> tuple[Limits | None, Limits | None]:
    """Those for a session and those for each statement: a pooler's sessions are not ours."""
    return (None, limits) if address.pooled else (limits, None)
