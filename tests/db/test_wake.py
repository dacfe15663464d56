"""Whoever asks one process of the fleet to look for work asks all of them."""

from __future__ import annotations

from generation_worker.db.insights import Insights

from generation_worker.db.signals import PostgresSignals, wake
from generation_worker.ports import WorkerInfo
from tests.support.database import Connection, Database
from tests.support.protocol import OneConnection, Worker

CARD = WorkerInfo("worker-1", "0", ["local"], 5)


def test_every_worker_that_listens_hears_it(connection: Connection, database: Database):
    listeners = [PostgresSignals(database.direct_conninfo) for _ in range(2)]
    try:
        for listener in listeners:
            listener.open()
        wake(connection)
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
        wake(connection)
        news = worker.store.touch_worker(CARD, busy=0, stuck=0, known=known.version)
        assert news is not None
        assert worker.store.touch_worker(CARD, busy=0, stuck=0, known=news.version) is None
        known = news
        seen.add(news.woken)
    assert len(seen - {None}) == 2


def test_it_is_no_setting(connection: Connection):
    before = Insights(OneConnection(connection)).fleet_settings()
    wake(connection)
    assert Insights(OneConnection(connection)).fleet_settings() == before
