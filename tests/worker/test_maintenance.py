"""Maintenance: tasks that are due are done, one after the other, and none keeps the others from being done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from generation_worker.domain.job import trace_id_of
from generation_worker.domain.settlement import Crashed, RetryPolicy
from generation_worker.events import Events
from generation_worker.ports import Expiry, Reclaim, StoreUnavailable
from generation_worker.worker import maintenance as pruners
from generation_worker.worker import maintenance as reclaimers
from generation_worker.worker.lease import LeaseBook
from generation_worker.worker.maintenance import Maintenance, Pruner, Reclaimer, Task
from generation_worker.worker.settler import Settler
from tests.support.jobs import TRACEPARENT
from tests.worker.scripted_store import Clock, ScriptedStore, Told, jobs, unavailable


def broken() -> None:
    raise KeyError("x")


@pytest.fixture
def done() -> list[str]:
    return []


def maintenance(store: ScriptedStore, events: Events, **runs: Callable[[], None]) -> Maintenance:
    return Maintenance(store, [Task(name, 10 * n, run) for n, (name, run) in enumerate(runs.items(), 1)], events)


def test_only_a_task_that_is_due_is_done(store: ScriptedStore, events: Events, done: list[str]) -> None:
    store.answer("claim_task", False, True)
    tasks = maintenance(store, events, one=lambda: done.append("one"), two=lambda: done.append("two"))
    assert tasks.step() == 5
    assert done == ["two"]
    assert store.calls("claim_task") == [(("one",), {"every": 10}), (("two",), {"every": 20})]
    assert store.calls("finish_task") == [(("two",), {"error": None})]


def test_a_task_that_fails_does_not_keep_the_others_from_being_done(
    store: ScriptedStore, events: Events, told: Told, done: list[str]
) -> None:
    store.answer("claim_task", True, True)
    maintenance(store, events, one=broken, two=lambda: done.append("two")).step()
    assert done == ["two"]
    assert store.calls("finish_task") == [(("one",), {"error": "KeyError('x')"}), (("two",), {"error": None})]
    assert told.fields("maintenance.failed")["task"] == "one"


def test_a_database_that_goes_away_ends_the_round(store: ScriptedStore, events: Events, done: list[str]) -> None:
    store.answer("claim_task", True)
    tasks = maintenance(store, events, one=unavailable, two=lambda: done.append("two"))
    with pytest.raises(StoreUnavailable):
        tasks.step()
    assert done == []
    store.answer("claim_task", False, True)
    tasks.step()
    assert done == ["two"]


# expiry and pruning


def test_expired_jobs_are_told_of_one_by_one(store: ScriptedStore, events: Events, told: Told) -> None:
    store.answer("expire_jobs", [Expiry("job-1", 7.0, TRACEPARENT), Expiry("job-2")])
    Pruner(store, events, retention=0).expire()
    assert [(fields["job"], fields["trace_id"]) for _, fields in told.events] == [
        ("job-1", TRACEPARENT[3:35]),
        ("job-2", trace_id_of("job-2", None)),
    ]


def test_expiry_goes_on_until_a_batch_is_not_full(store: ScriptedStore, events: Events) -> None:
    full = [Expiry(f"job-{n}") for n in range(pruners.PRUNED_AT_ONCE)]
    store.answer("expire_jobs", full, full, [Expiry("last")])
    Pruner(store, events, retention=0).expire()
    assert len(store.calls("expire_jobs")) == 3


@pytest.mark.parametrize("method", ["expire", "prune"])
def test_one_run_is_bounded(store: ScriptedStore, events: Events, method: str) -> None:
    store.answer("expire_jobs", *[[Expiry(f"job-{n}") for n in range(pruners.PRUNED_AT_ONCE)]] * 100)
    store.answer("prune_jobs", *[pruners.PRUNED_AT_ONCE] * 100)
    store.answer("prune_swept", *[pruners.PRUNED_AT_ONCE] * 100)
    getattr(Pruner(store, events, retention=3600), method)()
    assert len(store.calls(f"{method}_jobs")) == pruners.MOST_BATCHES
    assert len(store.calls("prune_swept")) == (pruners.MOST_BATCHES if method == "prune" else 0)


def test_without_a_retention_nothing_is_ever_deleted(store: ScriptedStore, events: Events) -> None:
    Pruner(store, events, retention=0).prune()
    assert store.calls("prune_jobs") == store.calls("prune_swept") == []


@pytest.mark.parametrize("retention", [0, 3600])
def test_images_that_were_staged_in_vain_are_deleted(store: ScriptedStore, events: Events, retention: float) -> None:
    Pruner(store, events, retention=retention).prune()
    assert store.calls("prune_staged") == [((), {"limit": pruners.PRUNED_AT_ONCE})]


def test_pruned_jobs_are_counted(store: ScriptedStore, events: Events, told: Told) -> None:
    store.answer("prune_jobs", 7)
    Pruner(store, events, retention=60).prune()
    assert told.events == [("jobs.pruned", {"number": 7})]
    assert store.calls("prune_jobs") == [((), {"retention": 60, "limit": pruners.PRUNED_AT_ONCE})]


# reclaiming


@pytest.fixture
def settler(store: ScriptedStore, events: Events) -> Settler:
    return Settler(store, RetryPolicy(), LeaseBook(), events, due_in=lambda _: None, written=lambda: None)


def reclaim(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, *taken: Reclaim, timeout: float = 600
) -> list[str | None]:
    store.answer("reclaim_jobs", list(taken))
    Reclaimer(store, settler, events, timeout=timeout, clock=clock).reclaim()
    settler.step()
    return [settlement.error_code for args, _ in store.calls("settle_attempts") for _, settlement in args[0]]


def test_a_silent_workers_job_is_settled_as_a_crash(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, told: Told
) -> None:
    (job,) = jobs(1)
    assert reclaim(store, settler, events, clock, Reclaim(job, "worker-2", 70)) == ["worker_lost"]
    said = told.fields("lease.reclaimed")
    assert (said["job"], said["worker"], said["seconds"]) == ("job-1", "worker-2", 70)
    assert told.fields("attempt.settled")["outcome"] == "crashed"


@pytest.mark.parametrize(("held_for", "seconds_left"), [(600, 3600), (700, 3600), (70, 0), (70, -5)])
def test_an_attempt_that_outlived_its_time_hung_and_did_not_die(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, held_for: float, seconds_left: float
) -> None:
    (job,) = jobs(1, seconds_left=seconds_left)
    reclaim(store, settler, events, clock, Reclaim(job, "worker-2", held_for))
    ((batch,), _), *_ = store.calls("settle_attempts")
    assert "never came back" in (batch[0][1].error_message or "")


def test_reclaiming_goes_on_until_nothing_is_left(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock
) -> None:
    many = [Reclaim(job, "worker-2", 70) for job in jobs(reclaimers.RECLAIMED_AT_ONCE)]
    store.answer("reclaim_jobs", many, many)
    reclaim(store, settler, events, clock)
    assert len(store.calls("reclaim_jobs")) == 3


def test_a_crash_says_which_worker_fell_silent() -> None:
    assert Crashed("worker-2", timed_out=False).worker == "worker-2"
