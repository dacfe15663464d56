"""Jobs and gates that have nobody to tell them: another way than waiting, rows that others change or hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from generation_worker.db.protocol import PostgresStore
from generation_worker.ports import LimitedKey, Staged, WorkerInfo
from tests.support.database import Connection, Database
from tests.support.gates import FAR, OTHER, Fleet
from tests.support.protocol import LIMITED, RETRY, OneConnection
from tests.support.waiting import wait_for_lock_waiters

A_DAY = 86_400.0

# another way


def test_who_comes_to_a_gate_that_closed_meanwhile_does_not_wait_while_another_key_is_open(fleet: Fleet) -> None:
    fleet.register(FAR, OTHER)
    fleet.enqueue(3)
    first, second, third = fleet.claim(3).jobs
    fleet.begin(first)
    permit = fleet.begin(second).permit
    assert permit is not None
    fleet.end(first, "limited", wait=A_DAY)
    third = third._replace(key_label="far-1")
    begun = fleet.begin(third)
    assert (begun.number, begun.wait, begun.reason) == (None, 0, "it limited")
    renewed = fleet.worker.store.renew_permit(second, 1, key_label="far-1", permit=permit)
    assert renewed is not None
    assert (renewed.wait, renewed.reason) == (0, "it limited")


def test_another_worker_s_key_counts_while_that_worker_lives(fleet: Fleet) -> None:
    fleet.register(OTHER, name="worker-2")
    fleet.register(FAR)
    news = fleet.call("limited", wait=A_DAY)
    assert news is not None
    assert news.has_alternative
    fleet.connection.execute("UPDATE worker_process SET seen_at = seen_at - interval '1 hour' WHERE id = 'worker-2'")
    fleet.enqueue()
    fleet.pass_time(A_DAY)
    news = fleet.call("limited", wait=A_DAY)
    assert news is not None
    assert not news.has_alternative


def test_a_key_of_a_worker_that_is_gone_is_no_alternative(fleet: Fleet) -> None:
    fleet.register(OTHER, name="worker-2")
    fleet.register(FAR)
    fleet.enqueue(3)
    first, second, third = fleet.claim(3).jobs
    fleet.begin(first)
    permit = fleet.begin(second).permit
    assert permit is not None
    fleet.end(first, "limited", wait=A_DAY)

    def waits() -> list[float | None]:
        renewed = fleet.worker.store.renew_permit(second, 1, key_label="far-1", permit=permit)
        assert renewed is not None
        return [fleet.begin(third).wait, renewed.wait]

    assert waits() == [0, 0]
    fleet.connection.execute("UPDATE worker_process SET seen_at = seen_at - interval '1 hour' WHERE id = 'worker-2'")
    assert waits() == [pytest.approx(A_DAY, abs=60)] * 2
    fleet.connection.execute("UPDATE worker_process SET seen_at = now() WHERE id = 'worker-2'")
    fleet.connection.execute(
        "UPDATE provider_gate SET breaker = 'open', opened_at = now(), open_until = now(), opened_for = '401'"
        " WHERE key_label = 'far-2'"
    )
    assert waits() == [pytest.approx(A_DAY, abs=60)] * 2


def test_a_job_that_finds_the_breaker_open_goes_to_its_second_provider_at_once(fleet: Fleet) -> None:
    fleet.enqueue(3, fallback_provider="local")
    jobs = fleet.claim().jobs
    permit = fleet.begin(jobs[0]).permit
    fleet.begin(jobs[1])
    news = fleet.end(jobs[1], "refused")
    assert news is not None
    assert news.has_alternative
    assert fleet.begin(jobs[2]).wait == 0
    assert permit is not None
    renewed = fleet.worker.store.renew_permit(jobs[0], 1, key_label="far-1", permit=permit)
    assert renewed is not None
    assert renewed.wait == 0
    for claimed in jobs:
        fleet.worker.settle(claimed, LIMITED)
    fleet.worker.promote_now()
    assert fleet.claim().all_breakers_open
    assert fleet.worker.store.move_jobs(limit=10) == 3


def test_a_limit_is_waited_for_whoever_the_second_provider_is(fleet: Fleet) -> None:
    fleet.enqueue(2, fallback_provider="local")
    first, second = fleet.claim().jobs
    fleet.begin(first)
    news = fleet.end(first, "limited", wait=40)
    assert news is not None
    assert not news.has_alternative
    assert fleet.begin(second).wait == pytest.approx(40, abs=5)


@pytest.mark.parametrize("who", ["its key's", "another, of two", "another, alone", "another, but it is staged"])
def test_an_answer_that_is_kept_is_left_to_the_worker_that_can_fetch_it(fleet: Fleet, who: str) -> None:
    fleet.register(OTHER, name="worker-2")
    fleet.register(FAR)
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    fleet.begin(claimed)
    fleet.worker.store.remember_call(claimed, 1, "p-1")
    if who == "another, but it is staged":
        fleet.worker.store.stage_image(claimed, Staged(b"bytes", "far", "m"))
    fleet.worker.settle(claimed, RETRY)
    fleet.worker.promote_now()
    if who == "another, alone":
        fleet.connection.execute(
            "UPDATE worker_process SET seen_at = seen_at - interval '1 hour' WHERE id = 'worker-1'"
        )
    fleet.keys = (FAR,) if who == "its key's" else (OTHER,)
    assert len(fleet.claim().jobs) == (0 if who == "another, of two" else 1)


# permits that nothing is made with


def test_a_permit_with_which_no_call_was_begun_is_given_back(fleet: Fleet) -> None:
    fleet.enqueue(4)
    fleet.claim(1)
    fleet.pass_time(2)
    first, second = fleet.claim().jobs
    fleet.begin(second)
    for claimed in (first, second):
        fleet.worker.store.return_permit(claimed)
    gate = fleet.gate()
    assert (gate["calls"], sum(gate["used"][-10:])) == (2, 1)
    assert len(fleet.claim().jobs) == 1


@pytest.mark.parametrize("gate", ["as it was", "new", "long ago"])
def test_a_permit_that_counts_no_more_gives_nothing_back(fleet: Fleet, gate: str) -> None:
    fleet.enqueue(3)
    (claimed,) = fleet.claim(1).jobs
    if gate == "new":
        fleet.connection.execute("DELETE FROM provider_gate")
        fleet.register(FAR)
    if gate == "long ago":
        fleet.pass_time(100)
        fleet.claim(1)
        assert claimed.permit is not None
        claimed = claimed._replace(permit=claimed.permit - 1000)
    fleet.worker.store.return_permit(claimed)
    assert fleet.gate()["calls"] == (1 if gate == "long ago" else 0)


def test_a_probe_that_makes_no_call_leaves_that_to_the_next_job(fleet: Fleet) -> None:
    fleet.call("refused")
    fleet.enqueue(3)
    fleet.pass_time(31)
    (probe,) = fleet.claim().jobs
    assert fleet.claim().jobs == []
    fleet.worker.store.return_permit(probe)
    gate = fleet.gate()
    assert (gate["breaker"], gate["opened_for"], gate["probe_job"]) == ("open", "it refused", None)
    (another,) = fleet.claim().jobs
    fleet.worker.store.return_permit(probe)
    assert str(fleet.gate()["probe_job"]) == another.id
    assert fleet.claim().jobs == []


# what is told


def test_a_gate_that_is_closed_for_longer_keeps_its_reason(fleet: Fleet) -> None:
    fleet.enqueue(2)
    first, second = fleet.claim().jobs
    for claimed in (first, second):
        fleet.begin(claimed)
    fleet.end(first, "limited", wait=A_DAY)
    fleet.connection.execute("UPDATE provider_gate SET closed_for = 'the daily quota'")
    fleet.end(second, "limited", wait=5)
    assert fleet.gate()["closed_for"] == "the daily quota"


def test_a_reason_that_is_over_is_not_told(fleet: Fleet) -> None:
    fleet.enqueue(5)
    first, second = fleet.claim(2).jobs
    permit = fleet.begin(first).permit
    fleet.begin(second)
    fleet.end(second, "limited", wait=5)
    fleet.pass_time(61)
    assert len(fleet.claim().jobs) == 3
    assert permit is not None
    renewed = fleet.worker.store.renew_permit(first, 1, key_label="far-1", permit=permit - 610)
    assert renewed is not None
    assert renewed.reason == "3 calls a minute are used up"


# rows that others change or hold


@pytest.mark.parametrize("renewed", [False, True])
def test_a_permit_of_a_gate_that_was_deleted_counts_as_none(fleet: Fleet, renewed: bool) -> None:
    fleet.enqueue()
    (claimed,) = fleet.claim().jobs
    assert claimed.permit is not None
    aged = claimed._replace(permit=claimed.permit - 20)
    if renewed:
        fleet.begin(claimed)
    fleet.connection.execute("DELETE FROM provider_gate")
    fleet.worker.store.touch_worker(WorkerInfo("worker-1", "0", ("far",), 5, fleet.keys), busy=0, stuck=0)
    if renewed:
        admission = fleet.worker.store.renew_permit(claimed, 1, key_label="far-1", permit=claimed.permit - 20)
        assert admission is not None
        assert admission.wait is None
    else:
        assert fleet.begin(aged).wait is None
    assert fleet.gate()["calls"] == 1


def test_workers_that_start_together_do_not_forget_each_other_s_gates(database: Database, fleet: Fleet) -> None:
    fleet.register(FAR, OTHER)
    fleet.pass_time(2 * A_DAY)
    fleet.connection.execute("DELETE FROM worker_process")
    first, second = database.connect_direct(autocommit=False), database.connect()

    def register(connection: Connection, name: str, key: LimitedKey) -> None:
        PostgresStore(OneConnection(connection)).register_worker(WorkerInfo(name, "0", ("far", "local"), 5, (key,)))

    with ThreadPoolExecutor(1) as threads:
        register(first, "worker-1", FAR)
        later = threads.submit(register, second, "worker-2", OTHER)
        wait_for_lock_waiters(fleet.connection, 1)
        first.commit()
        later.result()
    labels = fleet.connection.execute("SELECT key_label FROM provider_gate ORDER BY 1").fetchall()
    assert labels == [("far-1",), ("far-2",)]
