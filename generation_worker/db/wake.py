"""Has every worker of the fleet look for work now, whichever process is asked."""

from __future__ import annotations

from typing import Any

import psycopg

WAKE = """
WITH woken AS (
  INSERT INTO fleet_setting (name, value) VALUES ('woken', 'true')
  ON CONFLICT (name) DO UPDATE SET updated_at = clock_timestamp()
)
SELECT pg_notify('generation_worker', 'wake')
"""


def wake(connection: psycopg.Connection[Any]) -> None:
    """At once where LISTEN works; a worker that cannot hear it, and polls slowly, looks at its next heartbeat."""
    connection.execute(WAKE)
