"""Whether a pooler stands between us and the server, found out and not read off the address.

Behind a transaction pooler sessions share the server's processes: what was said in one is unknown in the next
transaction. So two clients that are told the same process number, or one that is told two, have a pooler before them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import psycopg

from generation_worker.db.pool import connect
from generation_worker.domain.finding import Verdict, fault, ok, warning

ROUNDS = 5
"""Questions to each client. A busy pooler may hand out the same process to the same client for a while."""


class Pooling(NamedTuple):
    """``shared``: sessions share processes. ``proxied``: who answers the connection is not the server itself."""

    shared: bool
    proxied: bool


def find_pooling(conninfo: str) -> Pooling:
    """Raises psycopg.OperationalError."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(conninfo, prepare=False)) for _ in range(2)]
        seen = [[_process(client) for client in clients] for _ in range(ROUNDS)]
        told = [client.info.backend_pid for client in clients]
    return Pooling(
        shared=any(len(set(found)) < len(found) or found != seen[0] for found in seen), proxied=told != seen[0]
    )


def judge_pooled(found: Pooling, *, declared: bool) -> Verdict:
    """For DATABASE_URL; ``declared``: the address says that there is a pooler."""
    if found.shared and not declared:
        return fault(
            "a transaction pooler stands in between, and DATABASE_URL does not say so: prepared statements will fail",
            "Add ?pgbouncer=true to DATABASE_URL, and put the address without the pooler into DIRECT_URL",
        )
    if declared and not found.proxied:
        return warning(
            "DATABASE_URL says that there is a pooler, and there is none: statements are parsed each time",
            "Remove pgbouncer=true from DATABASE_URL",
        )
    if found.shared:
        return ok("a transaction pooler, as DATABASE_URL says: nothing is prepared or kept in a session")
    return ok("a proxy that keeps sessions apart" if found.proxied else "a direct connection")


def judge_direct(found: Pooling) -> Verdict:
    """For DIRECT_URL."""
    if found.shared:
        return fault(
            "DIRECT_URL leads through a transaction pooler: LISTEN hears nothing there, and sessions get mixed up",
            "Put the address without the pooler into DIRECT_URL: Neon's host without -pooler, Supabase's port 5432",
        )
    return ok("a proxy that keeps sessions apart" if found.proxied else "a direct connection")


def _process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]
