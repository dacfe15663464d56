"""Jobs and gates that have nobody to tell them: another way than waiting, rows that others change or hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from generation_worker.db.store import PostgresStore
from generation_worker.ports import Key, WorkerCard
from tests.support.database import Connection, Database
from tests.support.gates import FAR, OTHER, Fleet
from tests.support.protocol import OneConnection
from tests.support.waiting import wait_for_lock_waiters

A_DAY = 86_400.0

# rows that others change or hold


def test_workers_that_start_together_do_not_forget_each_other_s_gates(database: Database, fleet: Fleet) -> None:
    fleet.register(FAR, OTHER)
    fleet.pass_time(2 * A_DAY)
    fleet.connection.execute("DELETE FROM worker_process")
    first, second = database.connect_direct(autocommit=False), database.connect()

    def register(connection: Connection, name: str, key: Key) -> None:
        PostgresStore(OneConnection(connection)).register_worker(WorkerCard(name, "0", ("far", "local"), 5, (key,)))

    with ThreadPoolExecutor(1) as threads:
        register(first, "worker-1", FAR)
        later = threads.submit(register, second, "worker-2", OTHER)
        wait_for_lock_waiters(fleet.connection, 1)
        first.commit()
        later.result()
    labels = fleet.connection.execute("SELECT key_label FROM provider_gate ORDER BY 1").fetchall()
    assert labels == [("far-1",), ("far-2",)]
