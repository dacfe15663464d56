"""A burst after a quiet time: the planner still believes what was true when the statistics were gathered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from generation_worker.db.statements import load_statements
from generation_worker.domain.job import LANE_START
from tests.support.database import OPTIONS, Connection, Database

QUIET = """
ALTER TABLE generation_job SET (autovacuum_enabled = off);
SET session_replication_role = replica;
INSERT INTO generation_job (kind, user_id, provider, payload, cost, status, started_at, finished_at, result)
SELECT 'text_to_image', 'user-' || n % 100, 'local', '{}', 0, 'completed', now(), now(), '{}'
  FROM generate_series(1, 40000) n;
RESET session_replication_role;
VACUUM ANALYZE generation_job
"""
BURST = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost)
SELECT 'text_to_image', 'user-' || n % 100, 'local', '{}', 0 FROM generate_series(1, 2000) n
"""
SLOTS = 5
CLAIM: dict[str, Any] = {
    "worker": "worker-1",
    "providers": ["local", "none"],
    "priorities": [LANE_START.priority] * 2,
    "positions": [LANE_START.position] * 2,
    "ids": [LANE_START.id] * 2,
    "left_out": [],
    "rehearsed": None,
    "slots": SLOTS,
    "lease": 60.0,
    "max_attempts": 4,
}


@pytest.fixture
def surprised(empty_database: Database) -> Iterator[Connection]:
    """A connection to a database whose statistics say that nothing is pending, while 2,000 jobs are."""
    empty_database.migrate()
    with psycopg.connect(empty_database.direct_conninfo, autocommit=True, options=OPTIONS) as connection:
        for statement in QUIET.split(";"):
            connection.execute(statement.encode())
        connection.execute(BURST)
        yield connection


def test_a_claim_reads_the_head_of_its_index(surprised: Connection) -> None:
    lines = explain(surprised, "claim_jobs", CLAIM)
    read = [line for line in lines if " on generation_job j " in line]
    assert ["generation_job_claim" in line for line in read[:1]] == [True]
    assert not [line for line in lines if "generation_job_deadline" in line or "generation_job_waiting" in line]


def test_late_jobs_are_found_by_their_deadline(surprised: Connection) -> None:
    lines = explain(surprised, "expire_jobs", {"limit": 100})
    assert [line for line in lines if "Index Scan using generation_job_deadline" in line]


def explain(connection: Connection, statement: str, values: dict[str, Any]) -> list[str]:
    """The plan as it was carried out, line by line."""
    query = b"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) " + load_statements()[statement]
    return [row[0] for row in connection.execute(query, values)]
