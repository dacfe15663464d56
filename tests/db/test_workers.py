"""Workers make themselves known, and what they offer can be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.rows import dict_row

from generation_worker.ports import WorkerInfo
from tests.support.database import Connection, Database, listen
from tests.support.jobs import enqueue
from tests.support.protocol import Worker
from tests.support.refusals import NOT_VALID, refused
from tests.support.waiting import heard

CARD = WorkerInfo("worker-1", "0.1.0", ["local", "replicate"], 5)


@pytest.fixture
def newcomer(connection: Connection) -> Worker:
    """A worker of a fleet that has never had one."""
    return Worker(connection)


def known(connection: Connection) -> dict[str, dict[str, Any]]:
    rows = connection.cursor(row_factory=dict_row).execute("SELECT * FROM worker_process").fetchall()
    return {row["id"]: row for row in rows}


def setting(connection: Connection, name: str) -> Any:
    row = connection.execute("SELECT value FROM fleet_setting WHERE name = %s", (name,)).fetchone()
    return row[0] if row else None


def test_a_worker_is_known_with_what_it_offers(newcomer: Worker) -> None:
    newcomer.store.register_worker(CARD)
    row = known(newcomer.connection)["worker-1"]
    assert (row["version"], row["providers"], row["concurrency"]) == ("0.1.0", ["local", "replicate"], 5)
    assert (row["busy"], row["stuck"], row["asleep"]) == (0, 0, False)


def test_the_first_worker_settles_the_default_provider_and_later_ones_add_theirs(newcomer: Worker) -> None:
    newcomer.store.register_worker(CARD)
    newcomer.store.register_worker(WorkerInfo("worker-2", "0.1.0", ["gemini"], 5))
    assert setting(newcomer.connection, "default_provider") == "local"
    assert sorted(setting(newcomer.connection, "providers")) == ["gemini", "local", "replicate"]


def test_what_no_worker_offers_cannot_be_asked_for(newcomer: Worker) -> None:
    with refused(NOT_VALID, "provider"):
        enqueue(newcomer.connection, cost=0)
    newcomer.store.register_worker(CARD)
    with refused(NOT_VALID, "gemini"):
        enqueue(newcomer.connection, provider="gemini")


def test_a_worker_without_providers_offers_nothing(newcomer: Worker) -> None:
    newcomer.store.register_worker(CARD._replace(providers=[]))
    assert setting(newcomer.connection, "default_provider") is None


def test_a_worker_that_comes_back_begins_anew(newcomer: Worker) -> None:
    store = newcomer.store
    store.register_worker(CARD)
    store.touch_worker(CARD, busy=3, stuck=1)
    store.set_asleep("worker-1", asleep=True)
    store.register_worker(CARD._replace(version="0.2.0"))
    row = known(newcomer.connection)["worker-1"]
    assert (row["version"], row["busy"], row["stuck"], row["asleep"]) == ("0.2.0", 0, 0, False)


def test_a_heartbeat_says_what_the_worker_is_doing(newcomer: Worker) -> None:
    newcomer.store.register_worker(CARD)
    seen_at = known(newcomer.connection)["worker-1"]["seen_at"]
    newcomer.store.touch_worker(CARD._replace(concurrency=6), busy=3, stuck=1)
    row = known(newcomer.connection)["worker-1"]
    assert (row["concurrency"], row["busy"], row["stuck"]) == (6, 3, 1)
    assert row["seen_at"] > seen_at


def test_a_worker_that_leaves_is_forgotten(newcomer: Worker) -> None:
    newcomer.store.register_worker(CARD)
    newcomer.store.remove_worker("worker-1")
    assert known(newcomer.connection) == {}


def test_a_worker_that_was_silent_for_a_day_is_forgotten_when_another_one_comes(newcomer: Worker) -> None:
    for name in ("silent", "quiet"):
        newcomer.store.register_worker(CARD._replace(id=name))
    newcomer.connection.execute(
        "UPDATE worker_process SET seen_at = clock_timestamp() - CASE id WHEN 'silent' THEN interval '25 hours'"
        " ELSE interval '23 hours' END"
    )
    newcomer.store.register_worker(CARD)
    assert set(known(newcomer.connection)) == {"quiet", "worker-1"}


@pytest.mark.parametrize(("asleep", "messages"), [(True, ["wake"]), (False, [])])
def test_a_job_wakes_workers_that_sleep_and_costs_nothing_while_they_are_awake(
    newcomer: Worker, database: Database, asleep: bool, messages: list[str]
) -> None:
    newcomer.store.register_worker(CARD)
    newcomer.store.set_asleep("worker-1", asleep=asleep)
    listening = database.connect_direct()
    listen(listening)
    enqueue(newcomer.connection, cost=None, kind="image_processing", payload=IMAGE_WORK)
    assert heard(listening) == messages


IMAGE_WORK = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail"}]}
