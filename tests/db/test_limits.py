"""What somebody holds in psql does not hold up a worker: its statements end, change nothing and are sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from generation_worker.db.connections import LOCK, Limits, OwnConnection, apply, open_pool
from generation_worker.db.protocol import PostgresStore
from generation_worker.ports import StoreBusy, StoreUnavailable, WorkerInfo
from tests.support.database import Connection, Database
from tests.support.protocol import OneConnection
from tests.support.waiting import wait_until

CARD = WorkerInfo("worker-1", "0.1.0", ["local"], 5)
HASTY = Limits(lock=0.05)
Build = Callable[[Limits], PostgresStore]


@pytest.fixture(params=["own", "pool", "pooler"])
def build(request: pytest.FixtureRequest, database: Database) -> Iterator[Build]:
    """Stores on a connection of their own, on a pool, and on connections whose sessions belong to a pooler."""
    with ExitStack() as stack:

        def build(limits: Limits) -> PostgresStore:
            if request.param == "pool":
                pool = open_pool(database.direct_conninfo, prepare=True, size=2, limits=limits)
                return PostgresStore(stack.enter_context(pool))
            if request.param == "own":
                own = OwnConnection(database.direct_conninfo, prepare=True, limits=limits)
                stack.callback(own.close)
                return PostgresStore(own)
            shared = OwnConnection(database.conninfo, prepare=False)
            stack.callback(shared.close)
            return PostgresStore(shared, limits=limits)

        yield build


@pytest.fixture
def holder(database: Database, connection: Connection) -> Connection:
    """Somebody in psql who has begun to change the row of worker-1, and does not go on."""
    PostgresStore(OneConnection(connection)).register_worker(CARD)
    holder = database.connect_direct(autocommit=False)
    holder.execute("UPDATE worker_process SET busy = 7")
    return holder


def touch(store: PostgresStore) -> None:
    store.touch_worker(CARD, busy=1, stuck=0)


@pytest.mark.parametrize(
    ("limits", "said"),
    [(HASTY, "lock timeout"), (Limits(lock=LOCK, statement=0.05), "statement timeout")],
    ids=["lock", "statement"],
)
def test_a_row_that_somebody_holds_is_a_database_that_does_not_answer(
    build: Build, holder: Connection, connection: Connection, limits: Limits, said: str
) -> None:
    store = build(limits)
    for _ in range(3):  # the third time the statement is prepared
        with pytest.raises(StoreUnavailable, match=f"touch_worker: canceling statement due to {said}") as failure:
            touch(store)
        assert isinstance(failure.value, StoreBusy) == (limits is HASTY)
    holder.rollback()
    touch(store)
    assert connection.execute("SELECT busy FROM worker_process").fetchone() == (1,)


def test_limits_that_go_along_with_a_statement_end_with_it(database: Database) -> None:
    """Behind a pooler the next statement of that session is somebody else's."""
    shared = database.connect()
    settings = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    before = shared.execute(settings).fetchone()
    with shared.pipeline():
        apply(shared, HASTY.for_transaction(), to="transaction")
        within = shared.execute(settings)
    assert within.fetchone() == ("50ms", "30s")
    assert shared.execute(settings).fetchone() == before


def test_a_transaction_that_falls_silent_is_ended_by_the_server(database: Database, connection: Connection) -> None:
    own = OwnConnection(database.direct_conninfo, prepare=True, limits=Limits(idle=0.05))
    store = PostgresStore(own)
    with own.connection() as held:
        pid = held.info.backend_pid
        held.execute("BEGIN")
    gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
    wait_until(lambda: connection.execute(gone, (pid,)).fetchone() == (True,), "the server ends it")
    with pytest.raises(StoreUnavailable):
        store.expire_jobs(limit=1)
    assert store.expire_jobs(limit=1) == []
    own.close()


def test_a_limit_is_never_nothing() -> None:
    """Which the server would take for no limit at all."""
    assert Limits(lock=0.0001).for_session()["lock_timeout"] == "1"
    assert Limits(lock=0.0).for_transaction()["lock_timeout"] == "1"


@pytest.mark.parametrize("seconds", [0.25, 15.0, 900.0])
def test_statements_that_share_their_time_are_over_within_it(seconds: float) -> None:
    limits = Limits.sharing(seconds, statements=2)
    assert limits.statement * 2 <= seconds
    assert limits.lock < limits.statement
    assert limits.lock <= LOCK
