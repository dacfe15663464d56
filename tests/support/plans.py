"""What the server's plan for a named statement costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from generation_worker.db.statements import load_statements
from tests.support.database import SCHEMA, Connection


def explain(connection: Connection, statement: str, values: Mapping[str, object]) -> dict[str, Any]:
    """The plan of a statement of ``db/sql``, with what it read when it ran."""
    explained = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_statements(SCHEMA)[statement]
    row = connection.execute(explained, values).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def blocks_read(connection: Connection, statement: str, values: Mapping[str, object]) -> int:
    """How many blocks it read."""
    plan = explain(connection, statement, values)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
