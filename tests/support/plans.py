"""What a statement reads, from its plan: for tests that no table's size changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from generation_worker.db.statements import load_statements
from tests.support.database import SCHEMA, Connection

WAITING_JOBS = """
INSERT INTO generation_job (id, kind, user_id, provider, payload, cost, position, run_at)
SELECT generation_uuid(), 'text_to_image', 'user-' || n % 100, 'local', '{"prompt": "a"}', 1,
       now() + n * interval '1 second', now() - interval '1 minute'
  FROM generate_series(1, 60000) n
"""
"""SQL for sixty thousand waiting jobs of a hundred users."""


def explain(connection: Connection, statement: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a statement of the product that was run, with the number of its rows and blocks."""
    text = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_statements(SCHEMA)[statement]
    row = connection.execute(text, values).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def blocks_read(connection: Connection, statement: str, values: Mapping[str, Any]) -> int:
    """The number of blocks of 8 kB that a statement reads."""
    plan = explain(connection, statement, values)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def most_rows(node: Mapping[str, Any]) -> float:
    """The most rows of generation_job that one scan of a plan reads."""
    scanned = 0.0
    if node.get("Relation Name") == "generation_job":
        names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        scanned = sum(float(node.get(name, 0)) for name in names) * float(node["Actual Loops"])
    children = cast("list[dict[str, Any]]", node.get("Plans", []))
    return max([scanned, *map(most_rows, children)])
