"""Maintenance without a leader: one of many takes a task that is due, and it is due again one interval later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.support.database import Connection, Database
from tests.support.protocol import Worker

NAMES = ["expire", "prune", "reclaim", "sweep"]


def task(connection: Connection, name: str) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT next_at - clock_timestamp(), last_ok_at, last_error FROM maintenance_task WHERE name = %s", (name,)
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_due_in_a_new_database(worker: Worker, name: str) -> None:
    assert worker.store.claim_task(name, every=60)


def test_a_task_is_due_again_one_interval_after_it_was_taken(worker: Worker) -> None:
    assert worker.store.claim_task("prune", every=60)
    assert not worker.store.claim_task("prune", every=60)
    assert task(worker.connection, "prune")[0].total_seconds() == pytest.approx(60, abs=30)


def test_a_task_that_nobody_finished_is_due_again_all_the_same(worker: Worker) -> None:
    assert worker.store.claim_task("prune", every=-1)
    assert worker.store.claim_task("prune", every=60)


def test_tasks_are_taken_one_by_one(worker: Worker) -> None:
    worker.store.claim_task("prune", every=60)
    assert worker.store.claim_task("expire", every=60)


def test_a_task_that_nobody_knows_is_never_due(worker: Worker) -> None:
    assert not worker.store.claim_task("polish", every=60)


def test_a_task_remembers_how_far_it_has_come(worker: Worker) -> None:
    assert worker.store.read_cursor("sweep") is None
    worker.store.save_cursor("sweep", "images/1")
    worker.store.claim_task("sweep", every=60)
    worker.store.finish_task("sweep", error=None)
    assert worker.store.read_cursor("sweep") == "images/1"
    assert worker.store.read_cursor("prune") is None
    worker.store.save_cursor("sweep", None)
    assert worker.store.read_cursor("sweep") is None


def test_one_of_many_workers_takes_a_task(database: Database) -> None:
    workers = [Worker(database.connect(), f"worker-{number}") for number in range(8)]
    together = Barrier(len(workers))

    def take(worker: Worker) -> bool:
        together.wait(10)
        return worker.store.claim_task("expire", every=60)

    with ThreadPoolExecutor(len(workers)) as threads:
        assert sum(threads.map(take, workers)) == 1


def test_a_task_that_is_just_being_taken_is_waited_for_by_nobody(worker: Worker, database: Database) -> None:
    other = Worker(database.connect(autocommit=False))
    assert other.store.claim_task("expire", every=60)
    assert not worker.store.claim_task("expire", every=60)


def test_a_good_run_is_remembered_and_clears_the_last_error(worker: Worker) -> None:
    worker.store.finish_task("expire", error="KeyError('x')")
    assert task(worker.connection, "expire")[1:] == (None, "KeyError('x')")
    worker.store.finish_task("expire", error=None)
    _, last_ok_at, last_error = task(worker.connection, "expire")
    assert last_ok_at is not None
    assert last_error is None


def test_a_failed_run_does_not_hide_when_the_last_good_one_was(worker: Worker) -> None:
    worker.store.finish_task("expire", error=None)
    last_ok_at = task(worker.connection, "expire")[1]
    worker.store.finish_task("expire", error="broken")
    assert task(worker.connection, "expire")[1:] == (last_ok_at, "broken")
