"""A whole worker over a scripted store: how it starts, watches over itself and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from generation_worker.domain.errors import AttemptStopped
from generation_worker.domain.job import Job, Status
from generation_worker.domain.settlement import Completed, Outcome, Released, Settlement
from generation_worker.events import Events
from generation_worker.ports import Claim, RefusedJob, StoreUnavailable
from generation_worker.worker import loop as loops, supervisor as shutdown, supervisor as supervisors
from generation_worker.worker.lease import Lease
from generation_worker.worker.settings import Ending
from generation_worker.worker.supervisor import Supervisor
from generation_worker.worker.worker import WorkerDependencies
from tests.support.waiting import wait_until
from tests.worker.scripted_store import RecordedEvents, ScriptedStore, jobs, settings, unavailable

COMPLETED = Completed({"images": []})


class Work:
    """Work that waits for ``go_on``. It stops on request, unless it is ``deaf``."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.deaf = False
        self.begun: list[str] = []

    def __call__(self, lease: Lease) -> Outcome:
        self.begun.append(lease.job.id)
        try:
            while not self.go_on.is_set():
                self.go_on.wait(0.002)
                if not self.deaf:
                    lease.check()
        except AttemptStopped:
            return Released()
        return COMPLETED


class RunningWorker:
    """A worker in a thread of its own."""

    def __init__(self, store: ScriptedStore, events: Events, **changes: Any) -> None:
        self.store = store
        self.work = Work()
        known: dict[str, Any] = {"poll_interval": 0.005, "idle_poll_interval": 0.01, "grace": 5.0, "overtime": 0.0}
        self.supervisor = Supervisor(
            settings(**(known | changes)),
            WorkerDependencies(store=store, heartbeat_store=store, signals=None, work=self.work, events=events),
        )
        self.ending: Ending | None = None
        self._until_empty = False
        self._thread = threading.Thread(target=self._run)

    def start(self, *, until_empty: bool = False) -> None:
        self._until_empty = until_empty
        self.supervisor.start()
        self._thread.start()

    def begin(self, number: int = 1, **changes: Any) -> list[Job]:
        """Start with this many jobs, and return when all have begun."""
        waiting = jobs(number, **changes)
        self.store.answer("claim_jobs", Claim(waiting, []))
        self.start()
        wait_until(lambda: len(self.work.begun) == number, "the jobs begin")
        return waiting

    def end(self) -> Ending | None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the worker does not end"
        return self.ending

    def settled(self) -> dict[str, Status]:
        """What was written of each job, the last word last."""
        batches: list[list[tuple[Job, Settlement]]] = [args[0] for args, _ in self.store.calls("settle_attempts")]
        return {job.id: settlement.status for batch in batches for job, settlement in batch}

    def clean_up(self) -> None:
        self.work.go_on.set()
        for _ in range(2):
            self.supervisor.request_stop()
        if self._thread.ident is not None:
            self._thread.join(20)

    def _run(self) -> None:
        self.ending = self.supervisor.run(until_empty=self._until_empty)


Build = Callable[..., RunningWorker]


@pytest.fixture
def build(store: ScriptedStore, events: Events, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    monkeypatch.setattr(loops, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(loops, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(supervisors, "WATCH_EVERY", 0.002)
    monkeypatch.setattr(shutdown, "STEP", 0.002)
    monkeypatch.setattr(shutdown, "RELEASE_TIMEOUT", 0.2)
    monkeypatch.setattr(shutdown, "SETTLE_FLUSH_TIMEOUT", 0.2)
    workers: list[RunningWorker] = []

    def build(**changes: Any) -> RunningWorker:
        workers.append(RunningWorker(store, events, **changes))
        return workers[-1]

    yield build
    for running in workers:
        running.clean_up()


# start


def test_a_worker_makes_itself_known_before_it_claims(build: Build) -> None:
    running = build()
    running.start()
    wait_until(lambda: bool(running.store.calls("claim_jobs")), "a claim")
    ((card,), _), *_ = running.store.calls("register_worker")
    assert (card.id, card.providers, card.concurrency) == ("worker-1", ("local",), 4)
    assert running.store.queries[0][0] == "register_worker"


def test_a_worker_that_cannot_make_itself_known_does_not_start(build: Build) -> None:
    running = build()
    running.store.answer("register_worker", unavailable)
    with pytest.raises(StoreUnavailable):
        running.supervisor.start()
    assert running.supervisor.report()["worker"] == "starting"
    assert running.store.calls("claim_jobs") == []


def test_a_job_goes_all_the_way(build: Build, recorded: RecordedEvents) -> None:
    running = build()
    running.begin()
    running.work.go_on.set()
    wait_until(lambda: "attempt.settled" in recorded.names, "the job is settled")
    assert running.settled() == {"job-1": "completed"}
    assert recorded.fields("attempt.started")["job"] == "job-1"
    assert running.supervisor.worker.pool.busy == 0


# asked to stop


def test_a_worker_that_is_asked_to_stop_finishes_what_runs_and_claims_nothing_more(
    build: Build, recorded: RecordedEvents
) -> None:
    running = build()
    running.begin(2)
    running.supervisor.request_stop()
    wait_until(lambda: "worker.draining" in recorded.names, "the worker drains")
    claimed = len(running.store.calls("claim_jobs"))
    assert running.supervisor.report()["worker"] == "draining"
    running.work.go_on.set()
    assert running.end() is Ending.STOPPED
    assert running.settled() == {"job-1": "completed", "job-2": "completed"}
    assert len(running.store.calls("claim_jobs")) <= claimed + 1
    assert running.store.queries[-1][0] == "remove_worker"
    assert recorded.names[-1] == "worker.stopped"


def test_what_does_not_finish_within_the_grace_is_given_back_with_its_attempt(build: Build) -> None:
    running = build(grace=0.02)
    running.begin(2)
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED
    assert running.settled() == {"job-1": "pending", "job-2": "pending"}


def test_what_does_not_listen_is_given_back_over_its_head(build: Build) -> None:
    running = build(grace=0.01)
    running.work.deaf = True
    running.begin()
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED
    assert running.settled() == {"job-1": "pending"}


def test_a_job_that_outlived_its_time_is_left_to_the_reclaimer(build: Build) -> None:
    """Given back, it would come again as if nothing had been, and hang the next worker."""
    running = build(grace=0.01, timeout=0.02, max_stuck=2)
    running.work.deaf = True
    running.begin()
    wait_until(lambda: running.supervisor.report()["stuck"] == 1, "the thread is stuck")
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED
    assert running.settled() == {}


def test_a_worker_that_is_asked_twice_gives_back_at_once(build: Build) -> None:
    running = build(grace=60.0)
    running.begin()
    began = time.monotonic()
    running.supervisor.request_stop()
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED
    assert running.settled() == {"job-1": "pending"}
    assert time.monotonic() - began < 50


def test_a_worker_with_nothing_to_do_stops_at_once(build: Build) -> None:
    running = build(grace=60.0)
    running.start()
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED


def test_a_worker_stops_though_the_database_is_away(build: Build) -> None:
    running = build(grace=0.01)
    running.begin()
    for method in ("settle_attempts", "renew_leases", "remove_worker", "claim_jobs", "promote_jobs"):
        running.store.answer(method, *[unavailable] * 10_000)
    running.supervisor.request_stop()
    assert running.end() is Ending.STOPPED


# ends by itself


def test_a_worker_may_end_when_the_line_is_empty(build: Build) -> None:
    running = build()
    running.work.go_on.set()
    running.store.answer(
        "claim_jobs", Claim(jobs(2), []), Claim([], [RefusedJob("poor", "ada")]), Claim(jobs(1, first=3), [])
    )
    running.start(until_empty=True)
    assert running.end() is Ending.EMPTY
    assert running.settled() == dict.fromkeys(("job-1", "job-2", "job-3"), "completed")


def test_a_worker_is_not_at_rest_before_everything_is_written(build: Build) -> None:
    running = build()
    running.work.go_on.set()
    running.store.answer("claim_jobs", Claim(jobs(1), []))
    running.store.answer("settle_attempts", *[unavailable] * 5)
    running.start(until_empty=True)
    assert running.end() is Ending.EMPTY
    assert len(running.store.calls("settle_attempts")) == 6


def test_a_stuck_thread_ends_the_worker_once_the_others_have_finished(build: Build, recorded: RecordedEvents) -> None:
    running = build(timeout=60.0, grace=5.0)
    running.work.deaf = True
    hangs, healthy = jobs(1, seconds_left=0.02)[0], jobs(1, first=2)[0]
    running.store.answer("claim_jobs", Claim([hangs, healthy], []))
    running.start()
    wait_until(lambda: "worker.draining" in recorded.names, "the worker ends")
    assert recorded.fields("worker.draining")["reason"] == "stuck"
    assert recorded.fields("thread.stuck")["job"] == "job-1"
    assert not running.supervisor.report()["live"]
    assert running.settled() == {}
    running.work.go_on.set()
    assert running.end() is Ending.STUCK
    assert running.settled()["job-2"] == "completed"


def test_as_many_threads_may_be_stuck_as_was_said(build: Build) -> None:
    running = build(timeout=0.02, max_stuck=3, grace=0.0)
    running.work.deaf = True
    running.begin(2)
    wait_until(lambda: running.supervisor.report()["stuck"] == 2, "two threads are stuck")
    time.sleep(0.02)
    assert running.ending is None
    running.store.answer("claim_jobs", Claim(jobs(1, first=3), []))
    assert running.end() is Ending.STUCK


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_without_one_of_its_loops_ends(build: Build) -> None:
    running = build()
    running.store.answer("touch_worker", None, SystemExit())  # the first is before the loops
    running.start()
    assert running.end() is Ending.BROKEN


# how it is


def test_a_worker_that_runs_is_healthy(build: Build) -> None:
    running = build()
    running.begin()
    report = running.supervisor.report()
    assert (report["status"], report["worker"], report["ready"], report["live"]) == ("healthy", "running", True, True)
    assert (report["busy"], report["stuck"], report["unwritten"], report["concurrency"]) == (1, 0, 0, 4)


def test_a_worker_whose_database_is_away_says_so_and_claims_nothing(build: Build) -> None:
    running = build(lease=0.08)
    running.store.answer("touch_worker", *[unavailable] * 10_000)
    running.start()
    wait_until(lambda: running.supervisor.report()["status"] == "unhealthy", "the worker is unhealthy")
    report = running.supervisor.report()
    assert (report["ready"], report["live"]) == (False, True)
    assert "the database does not answer" in report["problems"][0]
    time.sleep(0.02)
    claimed = len(running.store.calls("claim_jobs"))
    time.sleep(0.02)
    assert len(running.store.calls("claim_jobs")) == claimed


def test_a_lease_is_kept_while_the_job_runs(build: Build) -> None:
    running = build(lease=0.2)
    running.begin()
    wait_until(lambda: len(running.store.calls("renew_leases")) >= 5, "some heartbeats")
    running.work.go_on.set()
    wait_until(lambda: running.settled() == {"job-1": "completed"}, "the job is settled")


def test_an_attempt_whose_surroundings_break_costs_no_thread(
    build: Build, recorded: RecordedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = build(concurrency=1)
    put = running.supervisor.worker.settler.put

    def break_once(lease: Lease, outcome: Outcome) -> None:
        if lease.job.id == "job-1":
            raise KeyError("a fault of ours")
        put(lease, outcome)

    monkeypatch.setattr(running.supervisor.worker.settler, "put", break_once)
    running.work.go_on.set()
    running.store.answer("claim_jobs", Claim(jobs(1), []), Claim(jobs(1, first=2), []))
    running.start()
    wait_until(lambda: running.settled() == {"job-2": "completed"}, "the next job is done")
    assert recorded.fields("attempt.broke")["job"] == "job-1"
    assert len(running.supervisor.worker.leases) == 0
