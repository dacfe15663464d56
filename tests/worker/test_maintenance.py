"""Maintenance: due tasks run one after the other, and a task that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from generation_worker.domain.job import trace_id_of
from generation_worker.domain.settlement import Crashed, RetryPolicy
from generation_worker.events import Events
from generation_worker.ports import ExpiredJob, ReclaimedJob, StoreUnavailable
from generation_worker.worker.lease import LeaseBook
from generation_worker.worker.maintenance import (
    BATCH,
    MOST_BATCHES,
    RECLAIM_BATCH,
    Maintenance,
    Task,
    audit_ledger,
    expire_jobs,
    prune,
    reclaim_jobs,
)
from generation_worker.worker.settler import Settler
from tests.support.jobs import TRACEPARENT
from tests.worker.scripted_store import Clock, RecordedEvents, ScriptedStore, jobs, unavailable


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
    store: ScriptedStore, events: Events, recorded: RecordedEvents, done: list[str]
) -> None:
    store.answer("claim_task", True, True)
    maintenance(store, events, one=broken, two=lambda: done.append("two")).step()
    assert done == ["two"]
    assert store.calls("finish_task") == [(("one",), {"error": "KeyError('x')"}), (("two",), {"error": None})]
    assert recorded.fields("maintenance.failed")["task"] == "one"


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


def test_expired_jobs_are_told_of_one_by_one(store: ScriptedStore, events: Events, recorded: RecordedEvents) -> None:
    store.answer("expire_jobs", [ExpiredJob("job-1", 7.0, TRACEPARENT), ExpiredJob("job-2")])
    expire_jobs(store, events)
    assert [(fields["job"], fields["trace_id"]) for _, fields in recorded.events] == [
        ("job-1", TRACEPARENT[3:35]),
        ("job-2", trace_id_of("job-2", None)),
    ]


def test_expiry_goes_on_until_a_batch_is_not_full(store: ScriptedStore, events: Events) -> None:
    full = [ExpiredJob(f"job-{n}") for n in range(BATCH)]
    store.answer("expire_jobs", full, full, [ExpiredJob("last")])
    expire_jobs(store, events)
    assert len(store.calls("expire_jobs")) == 3


@pytest.mark.parametrize("method", ["expire", "prune"])
def test_one_run_is_bounded(store: ScriptedStore, events: Events, method: str) -> None:
    store.answer("expire_jobs", *[[ExpiredJob(f"job-{n}") for n in range(BATCH)]] * 100)
    store.answer("prune_jobs", *[BATCH] * 100)
    store.answer("prune_swept", *[BATCH] * 100)
    store.answer("prune_deliveries", *[BATCH] * 100)
    if method == "expire":
        expire_jobs(store, events)
    else:
        prune(store, events, retention=3600)
    assert len(store.calls(f"{method}_jobs")) == MOST_BATCHES
    for table in ("prune_swept", "prune_deliveries"):
        assert len(store.calls(table)) == (MOST_BATCHES if method == "prune" else 0)


def test_without_a_retention_nothing_is_ever_deleted(store: ScriptedStore, events: Events) -> None:
    prune(store, events, retention=0)
    assert store.calls("prune_jobs") == store.calls("prune_swept") == []


@pytest.mark.parametrize("retention", [0, 3600])
def test_images_that_were_staged_in_vain_are_deleted(store: ScriptedStore, events: Events, retention: float) -> None:
    prune(store, events, retention=retention)
    assert store.calls("prune_staged") == [((), {"limit": BATCH})]


def test_pruned_jobs_are_counted(store: ScriptedStore, events: Events, recorded: RecordedEvents) -> None:
    store.answer("prune_jobs", 7)
    prune(store, events, retention=60)
    assert recorded.events == [("jobs.pruned", {"number": 7})]
    assert store.calls("prune_jobs") == [((), {"retention": 60, "limit": BATCH})]


# reclaiming


@pytest.fixture
def settler(store: ScriptedStore, events: Events) -> Settler:
    return Settler(store, RetryPolicy(), LeaseBook(), events, due_in=lambda _: None, written=lambda: None)


def reclaim(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, *taken: ReclaimedJob, timeout: float = 600
) -> list[str | None]:
    store.answer("reclaim_jobs", list(taken))
    reclaim_jobs(store, settler, events, timeout=timeout, clock=clock)
    settler.step()
    return [settlement.error_code for args, _ in store.calls("settle_attempts") for _, settlement in args[0]]


def test_a_silent_workers_job_is_settled_as_a_crash(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, recorded: RecordedEvents
) -> None:
    (job,) = jobs(1)
    assert reclaim(store, settler, events, clock, ReclaimedJob(job, "worker-2", 70)) == ["worker_lost"]
    said = recorded.fields("lease.reclaimed")
    assert (said["job"], said["worker"], said["seconds"]) == ("job-1", "worker-2", 70)
    assert recorded.fields("attempt.settled")["outcome"] == "crashed"


@pytest.mark.parametrize(("held_for", "seconds_left"), [(600, 3600), (700, 3600), (70, 0), (70, -5)])
def test_an_attempt_that_outlived_its_time_hung_and_did_not_die(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock, held_for: float, seconds_left: float
) -> None:
    (job,) = jobs(1, seconds_left=seconds_left)
    reclaim(store, settler, events, clock, ReclaimedJob(job, "worker-2", held_for))
    ((batch,), _), *_ = store.calls("settle_attempts")
    assert "never returned" in (batch[0][1].error_message or "")


def test_reclaiming_goes_on_until_nothing_is_left(
    store: ScriptedStore, settler: Settler, events: Events, clock: Clock
) -> None:
    many = [ReclaimedJob(job, "worker-2", 70) for job in jobs(RECLAIM_BATCH)]
    store.answer("reclaim_jobs", many, many)
    reclaim(store, settler, events, clock)
    assert len(store.calls("reclaim_jobs")) == 3


def test_a_crash_says_which_worker_fell_silent() -> None:
    assert Crashed("worker-2", timed_out=False).worker == "worker-2"


# the audit


def test_what_is_found_is_kept(store: ScriptedStore, events: Events, recorded: RecordedEvents) -> None:
    audit_ledger(store, lambda: {"one": 0, "two": 0}, events)
    assert store.calls("save_findings") == [(("audit", {"violations": {"one": 0, "two": 0}}), {})]
    assert recorded.events == [("ledger.checked", {"broken": {}, "unchecked": []})]


def test_what_does_not_hold_is_told_of_by_name(store: ScriptedStore, events: Events, recorded: RecordedEvents) -> None:
    audit_ledger(store, lambda: {"one": 0, "two": 3, "three": None}, events)
    assert recorded.events == [("ledger.violated", {"broken": {"two": 3}, "unchecked": ["three"]})]


def test_a_database_that_is_away_leaves_what_was_found_before(store: ScriptedStore, events: Events) -> None:
    with pytest.raises(StoreUnavailable):
        audit_ledger(store, unavailable, events)
    assert store.calls("save_findings") == []
