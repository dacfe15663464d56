"""Whoever asks one process of the fleet to look for work asks all of them."""

from __future__ import annotations

from generation_worker.db.fleet import list_settings, wake_workers
from generation_worker.db.signals import PostgresSignals
from generation_worker.ports import WorkerInfo
from tests.support.database import Connection, Database, queries_on
from tests.support.protocol import Worker

CARD = WorkerInfo("worker-1", "0", ["local"], 5)


def test_every_worker_that_listens_hears_it(connection: Connection, database: Database):
    listeners = [PostgresSignals(database.direct_conninfo) for _ in range(2)]
    try:
        for listener in listeners:
            listener.open()
        wake_workers(queries_on(connection))
        assert [listener.wait(30) for listener in listeners] == [["wake"]] * 2
    finally:
        for listener in listeners:
            listener.close()


def test_one_that_hears_nothing_learns_of_it_at_its_heartbeat_and_each_time(worker: Worker, connection: Connection):
    worker.store.register_worker(CARD)
    known = worker.store.touch_worker(CARD, busy=0, stuck=0)
    assert known is not None
    assert known.woken is None
    seen: set[str | None] = set()
    for _ in range(2):
        wake_workers(queries_on(connection))
        news = worker.store.touch_worker(CARD, busy=0, stuck=0, known=known.version)
        assert news is not None
        assert worker.store.touch_worker(CARD, busy=0, stuck=0, known=news.version) is None
        known = news
        seen.add(news.woken)
    assert len(seen - {None}) == 2


def test_it_is_no_setting(connection: Connection):
    before = list_settings(queries_on(connection))
    wake_workers(queries_on(connection))
    assert list_settings(queries_on(connection)) == before
