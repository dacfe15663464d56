"""What the store makes of a database in trouble: it did not answer, or it refuses what was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import getmembers, isfunction
from pathlib import Path

import psycopg
import pytest

from generation_worker.db import statements
from generation_worker.db.connections import OwnConnection, open_pool
from generation_worker.db.protocol import PostgresOutbox, PostgresStore
from generation_worker.ports import StoreUnavailable, WorkerInfo
from tests.domain.jobs import a_job
from tests.support.database import Connection, Database
from tests.support.jobs import enqueue, grant
from tests.support.protocol import COMPLETED, OneConnection, Worker
from tests.support.waiting import wait_until

CARD = WorkerInfo("worker-1", "0.1.0", ["local"], 5)
NOWHERE = "postgresql://postgres@127.0.0.1:1/nothing?connect_timeout=2"


@pytest.fixture
def direct(database: Database) -> Connection:
    """A session whose settings a test may change."""
    return database.connect_direct()


def cut(connection: Connection, look: Connection) -> None:
    """End a session as a server does that goes away."""
    pid = connection.info.backend_pid
    look.execute("SELECT pg_terminate_backend(%s)", (pid,))
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: look.execute(query, (pid,)).fetchone() == (0,), "the session ends")


def test_each_statement_has_a_method_of_its_name() -> None:
    methods = {name for name, _ in getmembers(PostgresStore, isfunction) if not name.startswith("_")}
    outbox = {name for name, _ in getmembers(PostgresOutbox, isfunction) if not name.startswith("_")}
    protocol = {path.stem for path in (Path(statements.__file__).parent / "sql" / "protocol").glob("*.sql")}
    assert methods | outbox == protocol - {"claim_limited_jobs"}


# unavailable


def test_a_connection_that_was_cut_is_a_database_that_does_not_answer(
    direct: Connection, connection: Connection
) -> None:
    store = PostgresStore(OneConnection(direct))
    cut(direct, connection)
    with pytest.raises(StoreUnavailable, match="touch_worker"):
        store.touch_worker(CARD, busy=0, stuck=0)
    with pytest.raises(StoreUnavailable):
        store.touch_worker(CARD, busy=0, stuck=0)


@pytest.mark.parametrize(
    "setting", ["default_transaction_read_only = on", "statement_timeout = '1ms'"], ids=["read only", "too slow"]
)
def test_a_server_that_cannot_write_now_is_a_database_that_does_not_answer(direct: Connection, setting: str) -> None:
    """Taken for a refusal, it would cost every image that is waiting for its settlement."""
    grant(direct)
    for _ in range(50):
        enqueue(direct, kind="image_processing", payload={"image": {"key": "a"}, "operations": [{"type": "thumbnail"}]})
    direct.execute(f"SET {setting}".encode())
    with pytest.raises(StoreUnavailable):
        Worker(direct).claim()


def test_a_lock_that_is_not_had_in_time_is_a_database_that_does_not_answer(
    direct: Connection, database: Database
) -> None:
    store = PostgresStore(OneConnection(direct))
    store.register_worker(CARD)
    other = database.connect(autocommit=False)
    other.execute("SELECT FROM worker_process FOR UPDATE")
    direct.execute("SET lock_timeout = '5ms'")
    with pytest.raises(StoreUnavailable):
        store.touch_worker(CARD, busy=0, stuck=0)


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected, psycopg.errors.TransactionTimeout])
def test_what_the_server_ended_for_its_own_reasons_is_a_database_that_does_not_answer(
    direct: Connection, monkeypatch: pytest.MonkeyPatch, error: type[psycopg.Error]
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise error("try again")

    monkeypatch.setattr(direct, "cursor", ended)
    with pytest.raises(StoreUnavailable):
        PostgresStore(OneConnection(direct)).expire_jobs(limit=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_is_not_there_is_a_database_that_does_not_answer() -> None:
    with pytest.raises(StoreUnavailable):
        PostgresStore(OwnConnection(NOWHERE, prepare=False)).expire_jobs(limit=1)


def test_a_pool_that_has_no_connection_left_is_a_database_that_does_not_answer(database: Database) -> None:
    with open_pool(database.direct_conninfo, prepare=True, size=1, timeout=0.05) as pool:
        with pool.connection(), pytest.raises(StoreUnavailable):
            PostgresStore(pool).expire_jobs(limit=1)
        assert PostgresStore(pool).expire_jobs(limit=1) == []
    with pytest.raises(StoreUnavailable):
        PostgresStore(pool).expire_jobs(limit=1)


# refused


def test_what_the_database_refuses_is_told_apart(worker: Worker, connection: Connection) -> None:
    grant(connection)
    enqueue(connection)
    claimed = worker.claim_one()
    broken = replace(COMPLETED, error_message="x" * 2001)
    with pytest.raises(psycopg.DataError):
        worker.settle(claimed, replace(COMPLETED, result={"nul": "\0"}))
    with pytest.raises(psycopg.IntegrityError):
        worker.settle(claimed, replace(broken, result=None))
    assert worker.settle(claimed, COMPLETED) == "completed"


# connections


def test_a_pool_replaces_connections_that_were_cut(database: Database, connection: Connection) -> None:
    with open_pool(database.direct_conninfo, prepare=True, size=2) as pool:
        store = PostgresStore(pool)
        store.register_worker(CARD)
        with pool.connection() as lent:
            cut(lent, connection)

        def works() -> bool:
            try:
                store.touch_worker(CARD, busy=0, stuck=0)
            except StoreUnavailable:
                return False
            return True

        wait_until(works, "the pool recovers")


def test_a_connection_of_ones_own_is_opened_anew_when_it_broke(database: Database, connection: Connection) -> None:
    own = OwnConnection(database.direct_conninfo, prepare=True)
    store = PostgresStore(own)
    store.register_worker(CARD)
    with own.connection() as held:
        cut(held, connection)
    with pytest.raises(StoreUnavailable):
        store.touch_worker(CARD, busy=0, stuck=0)
    store.touch_worker(CARD, busy=0, stuck=0)
    own.close()


@pytest.mark.parametrize("prepare", [True, False])
def test_statements_come_back_the_same_however_often_they_are_sent(database: Database, prepare: bool) -> None:
    """The driver prepares a statement the third time; its answers must not change then."""
    own = OwnConnection(database.direct_conninfo, prepare=prepare)
    store = PostgresStore(own)
    calls: list[Callable[[], object]] = [
        lambda: store.settle_attempts([(a_job(), COMPLETED)]),
        lambda: store.renew_leases([(a_job().id, a_job().lease_token)], lease=1, timeout=1, grace=1),
        lambda: store.begin_call(a_job(), provider="local", key_label="", max_paid_calls=1),
        lambda: store.return_permit(a_job()),
        lambda: store.promote_jobs(limit=1),
        lambda: store.reclaim_jobs(limit=1, lease=1),
        lambda: store.prune_jobs(retention=1, limit=1),
    ]
    for call in calls:
        answers = [call() for _ in range(4)]
        assert answers == [answers[0]] * 4
    own.close()
