"""How far away a database is, by distance and by clock."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import psycopg

from generation_worker.db.diagnosis.sessions import Sessions
from generation_worker.domain.finding import Verdict, ok, warning
from generation_worker.domain.spans import span

FAR = 0.1
"""Seconds of a round trip from which on each step of a job feels it."""
ASKED = 5


def examine_connection(sessions: Sessions, label: str, name: str) -> Verdict:
    """``label`` tells people which database it is, ``name`` is the variable with its address. Raises psycopg.Error."""
    with sessions.connection() as connection:
        trip = _round_trip(connection)
        encrypted = bool(connection.pgconn.ssl_in_use)
        public = _is_public(connection.info.hostaddr)
    found = f"{label}{', TLS' if encrypted else ''}, a round trip takes {1000 * trip:.1f} ms"
    if public and not encrypted:
        return warning(f"{found}, without encryption over the internet", f"Add sslmode=require to {name}")
    if trip > FAR:
        return warning(found, "Run workers in the region of the database: a job takes a dozen round trips")
    return ok(found)


def examine_clock(sessions: Sessions) -> Verdict:
    """How this machine's clock differs from the database's, to half a round trip. Raises psycopg.Error."""
    with sessions.connection() as connection:
        _, ahead = min(_clock(connection) for _ in range(ASKED))
    if abs(ahead) < 2:
        return ok(f"this machine and the database differ by {span(abs(ahead))}")
    way = "ahead of" if ahead > 0 else "behind"
    return warning(
        f"this machine is {span(abs(ahead))} {way} the database",
        "Synchronise its clock (NTP); jobs go by the database's, but logs and signatures by this one",
    )


def _round_trip(connection: psycopg.Connection[Any]) -> float:
    return min(_clock(connection)[0] for _ in range(ASKED))


def _clock(connection: psycopg.Connection[Any]) -> tuple[float, float]:
    """Seconds of a round trip, and how far our clock was ahead in its middle."""
    begun, asked = time.time(), time.monotonic()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    trip = time.monotonic() - asked
    assert row is not None
    return trip, begun + trip / 2 - row[0]


def _is_public(address: str) -> bool:
    """Whether the other end is somewhere on the internet; a socket has no address."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
