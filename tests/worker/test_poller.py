"""The poller: as many jobs as there are idle threads, from the mark on, and no more questions than are worth asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from generation_worker.domain.job import LANE_START, Job
from generation_worker.events import Events
from generation_worker.ports import Claim, LimitedKey, Promotion, RefusedJob, StoreUnavailable
from generation_worker.worker import poller as pollers
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.poller import MARKS_KEPT, UNWRITTEN, Poller
from generation_worker.worker.pool import ThreadPool
from tests.support.jobs import TRACEPARENT
from tests.worker.scripted_store import NO_CLAIM, Clock, RecordedEvents, ScriptedStore, jobs, settings, unavailable


@dataclass
class Bench:
    """A poller and what it works with. The pool's threads never start: jobs pile up in it."""

    store: ScriptedStore
    clock: Clock
    pool: ThreadPool
    leases: LeaseBook
    poller: Poller
    may_claim: bool = True
    listening: bool = False

    def claims(self) -> list[dict[str, Any]]:
        return [{**kwargs, "marks": args[1]} for args, kwargs in self.store.calls("claim_jobs")]

    def step_until_rest(self) -> float:
        """Take steps as long as the next one is wanted at once; the pause after the last one."""
        for _ in range(20):
            if pause := self.poller.step():
                return pause
        raise AssertionError("the poller never rests")


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pollers, "GATHER", 0.0)


@pytest.fixture
def bench(store: ScriptedStore, clock: Clock, events: Events) -> Bench:
    pool = ThreadPool(4, lambda _: None, finished=lambda: None, failed=lambda _, __: None)
    leases = LeaseBook()
    poller = Poller(
        store,
        settings(providers=("local", "replicate"), keys=(LimitedKey("far-1", "replicate", 60),)),
        pool,
        leases,
        events,
        may_claim=lambda: bench.may_claim,
        listening=lambda: bench.listening,
        clock=clock,
    )
    bench = Bench(store, clock, pool, leases, poller)
    return bench


def brought(number: int, **changes: Any) -> Claim:
    return Claim(jobs(number, **changes), [])


# how many


def test_no_more_jobs_are_claimed_than_threads_are_idle(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(3), brought(1, first=4))
    bench.poller.step()
    bench.poller.step()
    assert [claim["slots"] for claim in bench.claims()] == [4, 1]
    assert bench.pool.idle == 0


def test_a_worker_without_idle_threads_claims_nothing(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4))
    assert bench.poller.step() == 0
    assert bench.poller.step() == 1.0
    assert len(bench.claims()) == 1


def test_a_claimed_job_is_in_the_book_before_a_thread_has_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    held_at_submit: list[int] = []

    def submit(_: Lease) -> None:
        held_at_submit.append(len(bench.leases))

    monkeypatch.setattr(bench.pool, "submit", submit)
    bench.store.answer("claim_jobs", brought(2))
    bench.poller.step()
    assert held_at_submit == [1, 2]


def test_a_lease_counts_from_before_the_claim_was_sent(bench: Bench) -> None:
    def slowly(*_: Any, **__: Any) -> Claim:
        bench.clock.advance(20)
        return brought(1)

    sent_at = bench.clock()
    bench.store.answer("claim_jobs", slowly)
    bench.poller.step()
    (lease,) = bench.leases.all()
    assert (lease.claimed_at, lease.proved_at, lease.deadline) == (sent_at, sent_at, sent_at + 600)


def test_claiming_pauses_while_too_many_settlements_are_unwritten(bench: Bench) -> None:
    for job in jobs(4 + UNWRITTEN):
        bench.leases.add(Lease(job, claimed_at=0, duration=60, timeout=600))
    assert bench.poller.step() == 1.0
    assert bench.claims() == []
    bench.leases.remove(bench.leases.all()[0])
    bench.poller.step()
    assert [claim["slots"] for claim in bench.claims()] == [4]


def test_nothing_is_claimed_while_no_lease_can_be_proved(bench: Bench) -> None:
    bench.may_claim = False
    assert bench.poller.step() == 1.0
    assert bench.store.queries == []


# marks


def test_a_full_claim_lets_the_next_one_begin_where_it_ended(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4))
    bench.poller.step()
    free_all(bench)
    bench.poller.step()
    first, second = bench.claims()
    assert first["marks"] == {"local": LANE_START, "replicate": LANE_START, "none": LANE_START}
    assert second["marks"] == first["marks"] | {"local": jobs(4)[-1].cursor}


def test_each_lane_has_a_mark_of_its_own(bench: Bench) -> None:
    mixed: list[Job] = [*jobs(2), *jobs(2, provider="replicate", first=3)]
    bench.store.answer("claim_jobs", Claim(mixed[::-1], []))
    bench.poller.step()
    free_all(bench)
    bench.poller.step()
    assert bench.claims()[1]["marks"] == {"local": mixed[1].cursor, "replicate": mixed[3].cursor, "none": LANE_START}


def test_a_short_claim_has_seen_the_end_of_the_line(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4), brought(3, first=5), NO_CLAIM)
    for _ in range(3):
        bench.poller.step()
        free_all(bench)
    assert bench.claims()[1]["marks"]["local"] != LANE_START
    assert bench.claims()[2]["marks"]["local"] == LANE_START


def test_marks_are_forgotten_after_a_while(bench: Bench) -> None:
    bench.store.answer("claim_jobs", *(brought(4, first=1 + 4 * n) for n in range(3)))
    bench.poller.step()
    for passed in (MARKS_KEPT - 0.1, 0.1):
        free_all(bench)
        bench.clock.advance(passed)
        bench.poller.step()
    assert [claim["marks"]["local"] == LANE_START for claim in bench.claims()] == [True, False, True]


def test_marks_are_forgotten_when_there_may_be_work_anywhere_in_the_line(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4))
    bench.poller.step()
    free_all(bench)
    bench.poller.check_now()
    bench.poller.step()
    assert bench.claims()[1]["marks"]["local"] == LANE_START


# refusals


def test_a_refused_job_is_told_of(bench: Bench, recorded: RecordedEvents) -> None:
    bench.store.answer("claim_jobs", Claim([], [RefusedJob("job-9", "ada", 7.0, TRACEPARENT)]))
    bench.poller.step()
    assert recorded.fields("job.refused") == {
        "job": "job-9",
        "user": "ada",
        "trace_id": TRACEPARENT[3:35],
        "traceparent": TRACEPARENT,
        "age": 7.0,
        "error_code": "insufficient_credits",
    }


@pytest.mark.parametrize("number", [1, 4])
def test_whoever_stands_behind_a_refused_job_does_not_wait_for_the_next_poll(bench: Bench, number: int) -> None:
    bench.listening = True
    refusals = [RefusedJob(f"poor-{n}", "ada") for n in range(number)]
    bench.store.answer("claim_jobs", Claim([], refusals), brought(1))
    assert bench.poller.step() == 0
    assert not bench.poller.empty
    bench.poller.step()
    assert len(bench.leases) == 1
    assert bench.store.calls("set_asleep") == []


# how often


def test_a_busy_line_is_looked_at_again_at_once(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4))
    assert bench.poller.step() == 0


def test_a_finished_thread_wakes_the_poller_only_while_there_is_more_to_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[None] = []
    monkeypatch.setattr(bench.poller.loop, "wake", lambda: woken.append(None))
    bench.store.answer("claim_jobs", brought(4), NO_CLAIM)
    bench.poller.step()
    bench.poller.job_finished()
    assert len(woken) == 1
    free_all(bench)
    bench.poller.step()
    bench.poller.job_finished()
    assert len(woken) == 1


def test_polling_goes_on_at_its_interval_while_nobody_would_wake_us(bench: Bench) -> None:
    assert [bench.poller.step() for _ in range(3)] == [1.0, 1.0, 1.0]
    assert bench.store.calls("set_asleep") == []


def test_a_listening_worker_falls_asleep_and_looks_once_more(bench: Bench) -> None:
    """Jobs that were enqueued before the worker was known to sleep did not notify it."""
    bench.listening = True
    assert bench.poller.step() == 0
    assert bench.store.calls("set_asleep") == [(("worker-1",), {"asleep": True})]
    assert bench.poller.step() != 0
    assert len(bench.claims()) == 2


def test_a_sleeping_worker_asks_for_little(bench: Bench) -> None:
    bench.listening = True
    bench.step_until_rest()
    bench.store.queries.clear()
    for _ in range(12):
        bench.clock.advance(bench.step_until_rest())
    assert len(bench.store.queries) <= 2 * 12 + 1
    assert bench.clock() >= 1000 + 12 * 5 - 5


def test_a_worker_that_finds_work_does_not_fall_asleep_before_the_line_is_empty(bench: Bench) -> None:
    bench.listening = True
    bench.store.answer("claim_jobs", brought(1), NO_CLAIM)
    assert bench.poller.step() == 0
    assert bench.store.calls("set_asleep") == []
    bench.poller.step()
    assert len(bench.store.calls("set_asleep")) == 1


def test_a_worker_with_a_full_line_says_that_it_is_awake(bench: Bench) -> None:
    bench.listening = True
    bench.step_until_rest()
    bench.store.answer("claim_jobs", brought(4))
    bench.poller.check_now()
    assert bench.poller.step() == 0
    assert [kwargs["asleep"] for _, kwargs in bench.store.calls("set_asleep")] == [True, False]


def test_a_worker_that_could_not_say_that_it_sleeps_says_it_again(bench: Bench) -> None:
    bench.listening = True
    bench.store.answer("set_asleep", unavailable)
    with pytest.raises(StoreUnavailable):
        bench.poller.step()
    bench.poller.step()
    assert len(bench.store.calls("set_asleep")) == 2


def test_a_worker_that_does_not_hear_any_more_polls_quickly_again(bench: Bench) -> None:
    bench.listening = True
    bench.clock.advance(bench.step_until_rest())
    assert bench.step_until_rest() == 5.0
    bench.listening = False
    bench.clock.advance(5)
    assert bench.step_until_rest() == 1.0


@pytest.mark.parametrize("listening", [True, False])
def test_a_worker_never_sleeps_past_a_job_that_will_be_due(bench: Bench, listening: bool) -> None:
    bench.listening = listening
    bench.store.answer("promote_jobs", Promotion(0, 0.4))
    assert bench.step_until_rest() == pytest.approx(0.4)


def test_a_worker_at_rest_hears_of_a_job_that_will_be_due_sooner(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[None] = []
    monkeypatch.setattr(bench.poller.loop, "wake", lambda: woken.append(None))
    bench.listening = True
    assert bench.step_until_rest() > 0.3
    bench.poller.due_in(0.3)
    assert len(woken) == 1
    assert bench.step_until_rest() == pytest.approx(0.3)
    bench.poller.due_in(60)
    assert len(woken) == 1


def test_promotion_comes_before_the_claim(bench: Bench) -> None:
    bench.poller.step()
    assert [name for name, _, _ in bench.store.queries] == ["promote_jobs", "claim_jobs"]


# an empty line


@pytest.mark.parametrize(
    ("claim", "empty"), [(NO_CLAIM, True), (brought(1), False), (Claim([], [RefusedJob("job-1", "ada")]), False)]
)
def test_the_line_is_empty_when_there_was_nothing_to_start_and_nothing_to_refuse(
    bench: Bench, claim: Claim, empty: bool
) -> None:
    assert not bench.poller.empty
    bench.store.answer("claim_jobs", claim)
    bench.poller.step()
    assert bench.poller.empty is empty


# outside a gate


@pytest.mark.parametrize(("opens_in", "rest"), [(0.4, 0.4), (0.0, 0.05), (600.0, 1.0)])
def test_jobs_outside_a_gate_are_looked_at_when_it_opens(bench: Bench, opens_in: float, rest: float) -> None:
    bench.listening = True
    bench.store.answer("claim_jobs", *[Claim([], [], opens_in)] * 3)
    assert bench.poller.step() == rest
    assert bench.store.calls("set_asleep") == []  # whoever waits for a gate does not wait to be woken


@pytest.mark.parametrize(("opens_in", "empty"), [(30.0, False), (60.6, False), (61.0, True), (86_400.0, True)])
def test_the_line_is_not_empty_while_a_gate_opens_within_its_minute(bench: Bench, opens_in: float, empty: bool) -> None:
    bench.store.answer("claim_jobs", Claim([], [], opens_in))
    bench.poller.step()
    assert bench.poller.empty is empty


def test_a_claim_that_a_gate_cut_short_goes_on_where_it_ended(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(2)._replace(opens_in=0.1))
    bench.poller.step()
    bench.poller.step()
    assert bench.claims()[1]["marks"]["local"].id == "job-2"


def test_jobs_move_while_a_breaker_is_open_and_are_looked_for_at_once(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(2)._replace(opens_in=30.0, all_breakers_open=True))
    bench.store.answer("move_jobs", 3)
    assert bench.poller.step() == 0
    bench.poller.step()
    assert bench.claims()[1]["marks"]["local"] == LANE_START


def test_nothing_is_moved_while_the_gate_is_only_limited(bench: Bench) -> None:
    bench.store.answer("claim_jobs", Claim([], [], 30.0))
    bench.poller.step()
    assert bench.store.calls("move_jobs") == []


def test_the_worker_claims_with_its_keys(bench: Bench) -> None:
    bench.poller.step()
    assert bench.claims()[0]["keys"] == (LimitedKey("far-1", "replicate", 60),)


def test_a_claim_that_failed_leaves_the_marks_as_they_were(bench: Bench) -> None:
    bench.store.answer("claim_jobs", brought(4), unavailable)
    bench.poller.step()
    free_all(bench)
    with pytest.raises(StoreUnavailable):
        bench.poller.step()
    bench.poller.step()
    _, second, third = bench.claims()
    assert second["marks"] == third["marks"]


def free_all(bench: Bench) -> None:
    """As if the threads had finished what they had."""
    rest: Callable[[Lease], None] = bench.leases.remove
    for lease in bench.leases.all():
        rest(lease)
    bench.pool._busy = 0  # pyright: ignore[reportPrivateUsage]
