"""Who holds back vacuum: found on the server, with the process and what to say to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from generation_worker.db.query import Queries
from generation_worker.db.server import VacuumHolder, list_vacuum_holders
from generation_worker.doctor.check import Sessions
from generation_worker.doctor.postgres import FAR_TOO_LONG, LONG, MANY, judge_holders
from tests.support.database import Connection, Database
from tests.support.servers import embedded

HELD = VacuumHolder(
    kind="transaction",
    name="4711",
    application="psql",
    role="ada",
    state="idle in transaction",
    seconds=LONG + 5,
    since=datetime(2026, 11, 22, 10, 0, 3, tzinfo=UTC),
    query="UPDATE job SET x = …",
    transactions=7,
    kept_bytes=None,
)


@pytest.fixture
def queries(database: Database) -> Iterator[Queries]:
    with closing(Sessions(database.conninfo)) as sessions:
        yield Queries(sessions)


@pytest.fixture
def somebody(database: Database) -> Connection:
    """Somebody at psql, past any pooler."""
    return database.connect_direct(application_name="psql")


def pid(connection: Connection) -> str:
    return str(connection.info.backend_pid)


def of(queries: Queries, connection: Connection) -> VacuumHolder | None:
    found = list_vacuum_holders(queries, limit=100)
    return next((holder for holder in found if holder.name == pid(connection)), None)


def test_an_open_snapshot_is_found_with_whose_it_is(queries: Queries, somebody: Connection):
    somebody.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    somebody.execute("SELECT 'it''s my secret' AS \"a b\",\n  2, $$and mine$$")
    holder = of(queries, somebody)
    assert holder is not None
    assert (holder.kind, holder.application, holder.state) == ("transaction", "psql", "idle in transaction")
    assert holder.role == somebody.info.user
    assert holder.query == 'SELECT … AS "a b", 2, …'
    assert holder.since is not None
    assert (holder.seconds or -1) >= 0


def test_a_transaction_that_wrote_holds_back_too(queries: Queries, somebody: Connection):
    somebody.execute("BEGIN")
    somebody.execute("UPDATE fleet_setting SET updated_by = 'ada' WHERE name = 'seconds_per_credit'")
    assert of(queries, somebody) is not None
    somebody.execute("ROLLBACK")
    assert of(queries, somebody) is None


def test_who_is_only_connected_does_not(queries: Queries, somebody: Connection):
    somebody.execute("SELECT 1")
    assert of(queries, somebody) is None


def test_of_other_roles_the_process_is_seen_by_anybody(database: Database, somebody: Connection):
    somebody.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    somebody.execute("SELECT 1")
    role = sql.Identifier(f"low_{uuid4().hex}")
    nobody = database.connect_direct()
    nobody.execute(sql.SQL("CREATE ROLE {}").format(role))
    nobody.execute(sql.SQL("SET ROLE {}").format(role))
    holder = of(Queries.on(nobody), somebody)
    assert holder is not None
    assert (holder.seconds, holder.state, holder.query) == (None, None, "<insufficient privilege>")
    assert (holder.transactions or 0) > 0


def test_prepared_transactions_and_slots_are_found():
    with embedded(max_prepared_transactions="2") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE half_done ()")
        connection.execute("PREPARE TRANSACTION 'ada''s'")
        connection.execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
        with closing(Sessions(url)) as sessions:
            found = {holder.kind: holder for holder in list_vacuum_holders(Queries(sessions))}
        connection.execute("ROLLBACK PREPARED 'ada''s'")
    prepared, slot = found["prepared transaction"], found["replication slot"]
    assert (prepared.name, prepared.role) == ("ada's", "postgres")
    assert (prepared.seconds or -1) >= 0
    assert (slot.name, slot.state) == ("left_behind", "inactive")
    assert (slot.kept_bytes or -1) >= 0
    [about] = judge_holders([slot])
    assert about.status == "warning"
    assert "SELECT pg_drop_replication_slot('left_behind')" in (about.remedy or "")


@pytest.mark.parametrize(
    ("seconds", "status"), [(LONG - 1, "ok"), (LONG, "warning"), (FAR_TOO_LONG - 1, "warning"), (FAR_TOO_LONG, "fault")]
)
def test_how_long_is_too_long(seconds: float, status: str):
    [verdict] = judge_holders([HELD._replace(seconds=seconds)])
    assert verdict.status == status
    assert "process 4711 (psql, role ada), idle in transaction, for " in verdict.detail
    assert verdict.detail.endswith("query since 2026-11-22 10:00:03Z: UPDATE job SET x = …")


def test_the_remedy_ends_this_one_and_prevents_the_next():
    [verdict] = judge_holders([HELD])
    assert verdict.remedy == (
        "If it is forgotten: SELECT pg_terminate_backend(4711); "
        "against the next one: ALTER ROLE ada SET idle_in_transaction_session_timeout = '5min'"
    )
    [verdict] = judge_holders([HELD._replace(state="active")])
    assert "dump" in (verdict.remedy or "")


def test_a_prepared_transaction_is_ended_by_its_name():
    prepared = HELD._replace(kind="prepared transaction", name="ada's", application=None, state=None, query=None)
    [verdict] = judge_holders([prepared])
    assert "ROLLBACK PREPARED 'ada''s'" in (verdict.remedy or "")


def test_one_whose_age_is_hidden_is_judged_by_what_happened_since():
    hidden = HELD._replace(seconds=None, since=None, state=None, query=None)
    assert judge_holders([hidden._replace(transactions=MANY - 1)])[0].status == "ok"
    [verdict] = judge_holders([hidden._replace(transactions=MANY)])
    assert verdict.status == "warning"
    assert f"{MANY} transactions ago" in verdict.detail


def test_a_slot_in_use_is_no_matter_until_it_falls_behind():
    slot = HELD._replace(kind="replication slot", name="replica", state="active", seconds=None, since=None)
    assert judge_holders([slot])[0].status == "ok"
    assert judge_holders([slot._replace(transactions=MANY)])[0].status == "warning"


def test_each_that_is_too_old_is_told():
    other = HELD._replace(name="4712", seconds=FAR_TOO_LONG)
    assert [verdict.status for verdict in judge_holders([other, HELD, HELD._replace(seconds=1)])] == [
        "fault",
        "warning",
    ]


def test_nobody():
    assert judge_holders([]) == [("ok", "nobody holds back vacuum", None)]
