"""A claim costs the same whether ten jobs wait or a million, and whatever the planner knew when it was prepared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from generation_worker.db.connections import connect
from generation_worker.db.statements import load_statements
from generation_worker.domain.job import LANE_START, NO_PROVIDER, ClaimCursor
from tests.support.database import OPTIONS, Connection, Database
from tests.support.protocol import COMPLETED, GAVE_UP, Worker, set_prices
from tests.support.servers import Server

JOBS, USERS = 1_000_000, 1_000
SLOTS = 50
FEW = 4 * SLOTS
"""Buffers that picking SLOTS jobs of one lane may touch: a row, its lock, and a lock's page of the visibility map."""

CLAIM = load_statements()["claim_jobs"].decode()
LIMITED_CLAIM = load_statements()["claim_limited_jobs"].decode()
PICK = CLAIM[: CLAIM.index("), account AS")] + ") SELECT * FROM picked"
TYPES = {
    "worker": "text",
    "providers": "text[]",
    "gated": "text[]",
    "keys": "text[]",
    "priorities": "int[]",
    "positions": "text[]",
    "ids": "text[]",
    "left_out": "uuid[]",
    "rehearsed": "uuid",
    "slots": "int",
    "lease": "float8",
    "max_attempts": "int",
}

# Nine of ten jobs are one user's; one of a hundred is in another lane. An index is built quicker than it is kept.
FILL = f"""
INSERT INTO credit_account (user_id, balance) SELECT 'user-' || n, 1000000 FROM generate_series(0, {USERS - 1}) n;
INSERT INTO generation_job (id, kind, user_id, provider, payload, cost, position)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'text_to_image',
       'user-' || CASE n % 10 WHEN 0 THEN n / 10 % {USERS - 1} + 1 ELSE 0 END,
       CASE n % 100 WHEN 0 THEN 'replicate' ELSE 'local' END, '{{"prompt": "a"}}', 1,
       timestamptz '2026-01-01' + n * interval '1 millisecond'
  FROM generate_series(1, {JOBS}) n;
"""


@dataclass(frozen=True)
class Explained:
    """What a statement did, from EXPLAIN (ANALYZE, BUFFERS)."""

    nodes: Sequence[Mapping[str, Any]]

    @property
    def buffers(self) -> int:
        return self.nodes[0]["Shared Hit Blocks"] + self.nodes[0]["Shared Read Blocks"]

    @property
    def rows(self) -> int:
        return self.nodes[0]["Actual Rows"]

    def scans(self, table: str) -> set[tuple[str, str | None]]:
        """How the table was read: the kind of scan and the index."""
        reads = [node for node in self.nodes if node.get("Relation Name") == table and node["Actual Loops"]]
        return {(node["Node Type"], node.get("Index Name")) for node in reads if node["Node Type"] != "ModifyTable"}


@pytest.fixture(scope="module")
def crowd(postgres: Server) -> Iterator[Database]:
    """A database in which a million jobs wait."""
    with postgres.temporary_database(f"generation_worker_crowd_{os.getpid()}") as addresses:
        database = Database(addresses)
        database.migrate()
        with psycopg.connect(database.direct_conninfo, options=OPTIONS) as connection:
            connection.execute("SET LOCAL maintenance_work_mem = '128MB'")
            indexes = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes"
                " WHERE tablename = 'generation_job' AND indexname <> 'generation_job_pkey'"
            ).fetchall()
            for name, _ in indexes:
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
            connection.execute(FILL.encode())
            for _, definition in indexes:
                connection.execute(definition.encode())
        with psycopg.connect(database.direct_conninfo, autocommit=True, options=OPTIONS) as connection:
            connection.execute("VACUUM (ANALYZE) generation_job, credit_account")
        yield database
        database.close()


@pytest.fixture
def session(crowd: Database) -> Iterator[Connection]:
    """A connection whose changes are undone."""
    with psycopg.connect(crowd.direct_conninfo, options=OPTIONS) as connection:
        yield connection
        connection.rollback()


def explain(
    session: Connection,
    statement: str,
    mode: str,
    *,
    slots: int = SLOTS,
    lanes: Sequence[str] = ("local", NO_PROVIDER),
    marks: Mapping[str, ClaimCursor] | None = None,
    keys: Sequence[tuple[str, str]] = (),
) -> Explained:
    """Run a claim, or a part of it, as the prepared statement that the worker's driver makes of it."""
    places = dict.fromkeys(lanes, LANE_START) | dict(marks or {})
    values = {
        "worker": "worker-1",
        "providers": list(places),
        "gated": [provider for _, provider in keys],
        "keys": [label for label, _ in keys],
        "priorities": [place.priority for place in places.values()],
        "positions": [place.position for place in places.values()],
        "ids": [place.id for place in places.values()],
        "left_out": [],
        "rehearsed": None,
        "slots": slots,
        "lease": 60.0,
        "max_attempts": 4,
    }
    number = {name: f"${place}" for place, name in enumerate(TYPES, start=1)}
    text = re.sub(r"%\((\w+)\)s", lambda name: number[name[1]], statement).replace("%%", "%")
    arguments = sql.SQL(", ").join(sql.Literal(values[name]) for name in TYPES)
    session.execute(f"SET plan_cache_mode = {mode}".encode())
    session.execute(f"PREPARE explained ({', '.join(TYPES.values())}) AS {text}".encode())
    query = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({})").format(arguments)
    row = session.execute(query).fetchone()
    session.execute("DEALLOCATE explained")
    assert row is not None
    return Explained(list(_walk(row[0][0]["Plan"])))


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


MODES = pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])


@MODES
def test_picking_the_next_jobs_reads_the_head_of_their_index(session: Connection, mode: str) -> None:
    picked = explain(session, PICK, mode)
    assert picked.rows == SLOTS
    assert picked.scans("generation_job") == {("Index Scan", "generation_job_claim")}
    assert picked.buffers < FEW


@MODES
def test_each_lane_offers_as_many_as_are_picked(session: Connection, mode: str) -> None:
    picked = explain(session, PICK, mode, lanes=["local", "replicate", NO_PROVIDER])
    assert picked.rows == SLOTS
    assert picked.scans("generation_job") == {("Index Scan", "generation_job_claim")}
    assert picked.buffers < 2 * FEW


@MODES
def test_a_whole_claim_costs_what_its_jobs_cost(session: Connection, mode: str) -> None:
    """A claimed job has an entry in four indexes, a debit in two, and its account."""
    claimed = explain(session, CLAIM, mode)
    assert claimed.rows == SLOTS
    assert claimed.scans("generation_job") == {
        ("Index Scan", "generation_job_claim"),
        ("Index Scan", "generation_job_pkey"),
    }
    assert claimed.buffers < 40 * SLOTS


@MODES
def test_a_claim_by_a_large_worker_costs_what_its_jobs_cost(session: Connection, mode: str) -> None:
    claimed = explain(session, CLAIM, mode, slots=500)
    assert claimed.rows == 500
    assert "Seq Scan" not in {kind for kind, _ in claimed.scans("generation_job")}
    assert claimed.buffers < 40 * 500


@MODES
def test_a_claim_with_permits_costs_what_its_jobs_cost(session: Connection, mode: str) -> None:
    session.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute) VALUES ('far-1', 'replicate', 30)"
    )
    claimed = explain(session, LIMITED_CLAIM, mode, lanes=["replicate", NO_PROVIDER], keys=[("far-1", "replicate")])
    assert claimed.rows == 30 + 1  # and that there will be room again
    assert claimed.scans("generation_job") <= {
        ("Index Scan", "generation_job_claim"),
        ("Index Only Scan", "generation_job_claim"),
        ("Index Scan", "generation_job_answered"),
        ("Index Scan", "generation_job_pkey"),
    }
    assert claimed.buffers < 40 * SLOTS


@MODES
def test_dead_rows_behind_the_low_water_mark_cost_nothing(session: Connection, mode: str) -> None:
    """They cannot be removed while a transaction is open that may still see them: here it is our own."""
    dead = 50_000
    session.execute(
        "UPDATE generation_job SET status = 'cancelled', finished_at = clock_timestamp() WHERE id <= %s",
        (f"01900000-0000-7000-8000-{dead:012x}",),
    )
    heads = session.execute(
        "SELECT DISTINCT ON (provider) provider, priority, to_jsonb(position) #>> '{}', id::text"
        "  FROM generation_job WHERE status = 'pending' AND id <= %s ORDER BY provider, priority, position, id",
        (f"01900000-0000-7000-8000-{dead + 100:012x}",),
    ).fetchall()
    marks = {lane: ClaimCursor(*place) for lane, *place in heads if lane == "local"}
    assert explain(session, PICK, mode, marks=marks).buffers < FEW
    assert explain(session, PICK, mode).buffers > 5 * FEW  # what the mark is worth


# what the planner knew


@pytest.fixture
def prepared(database: Database) -> Iterator[Worker]:
    """A worker whose statements were prepared while every table was empty, and known to be."""
    with connect(database.direct_conninfo, prepare=True, options=OPTIONS) as connection:
        set_prices(connection)
        for table in ("generation_job", "credit_account", "credit_entry", "job_attempt"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())
        worker = Worker(connection)
        for _ in range(10):
            worker.claim(500)
            worker.store.settle_attempts([])
            worker.renew()
        yield worker
        for table in ("generation_job", "credit_account", "credit_entry", "job_attempt"):
            connection.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)".encode())


def rows_read_in_vain(connection: Connection) -> int:
    """How many rows this transaction has read by going through whole tables."""
    row = connection.execute(
        "SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables"
        " WHERE relname IN ('generation_job', 'job_attempt', 'credit_entry')"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_plan_made_on_empty_tables_does_not_outlive_them(prepared: Worker) -> None:
    connection = prepared.connection
    connection.execute(FILL.replace(str(JOBS), "20000").encode())
    with connection.transaction():
        before = rows_read_in_vain(connection)
        for settlement in (COMPLETED, GAVE_UP):
            jobs = prepared.claim(500).jobs
            prepared.renew(*jobs)
            assert len(prepared.store.settle_attempts([(claimed, settlement) for claimed in jobs])) == 500
        assert rows_read_in_vain(connection) - before < 5_000  # of tables that are small, if any
