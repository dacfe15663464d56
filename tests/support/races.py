"""Races: several connections that do something at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from tests.support.database import Connection, Database


def at_once(database: Database, calls: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    """What each call returns or, from the database, raises: each on a connection of its own, all started together."""
    barrier = threading.Barrier(len(calls))
    connections = [database.connect() for _ in calls]

    def run(call: Callable[[Connection], Any], connection: Connection) -> Any:
        barrier.wait()
        try:
            return call(connection)
        except psycopg.DatabaseError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls, connections))


def many_at_once(database: Database, number: int, call: Callable[[Connection], Any]) -> list[Any]:
    """As `at_once`, with the same call `number` times."""
    return at_once(database, [call] * number)
