"""Waiting for what a test has set in motion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from psycopg import Notify

from generation_worker.db.statements import quoted
from tests.support.database import SCHEMA, Connection

PATIENCE = 30.0
"""Seconds after which something that should have happened has not."""


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Return as soon as `happened` says so; fail if it never does."""
    give_up_at = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < give_up_at, f"never happened: {what}"
        time.sleep(0.005)


def heard(listening: Connection, channel: str = f"{quoted(SCHEMA)}.signals") -> list[str]:
    """What was said on the channel until now. Messages come in the order of their commits, so the last one is ours."""
    end = f"end {time.monotonic_ns()}"
    listening.execute("SELECT pg_notify(%s, %s)", (channel, end))
    messages = [notice.payload for notice in _until(listening, end)]
    assert messages[-1:] == [end], f"never came: {end}"
    return messages[:-1]


def _until(listening: Connection, end: str) -> Iterator[Notify]:
    for notice in listening.notifies(timeout=PATIENCE):
        yield notice
        if notice.payload == end:
            return


def wait_for_lock_waiters(connection: Connection, number: int) -> None:
    """Return when `number` connections to this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def are_waiting() -> bool:
        row = connection.execute(query).fetchone()
        return row is not None and row[0] == number

    wait_until(are_waiting, f"{number} connections wait for a lock")
