"""The poller: as many jobs as there are idle threads, from the mark on, and no more questions than are worth asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from generation_worker.domain.job import LANE_START, Job
from generation_worker.events import Events
from generation_worker.ports import Claim, Key, Promotion, Refusal, StoreUnavailable
from generation_worker.worker import poller as pollers
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.poller import MARKS_KEPT, UNWRITTEN, Poller, Promoter
from generation_worker.worker.pool import Pool
from tests.support.jobs import TRACEPARENT
from tests.worker.scripted_store import NO_CLAIM, Clock, ScriptedStore, Told, jobs, settings, unavailable


@dataclass
class Desk:
    """A poller and what it works with. The pool's threads never start: jobs pile up in it."""

    store: ScriptedStore
    clock: Clock
    pool: Pool
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
def desk(store: ScriptedStore, clock: Clock, events: Events) -> Desk:
    pool = Pool(4, lambda _: None, finished=lambda: None, failed=lambda _, __: None)
    leases = LeaseBook()
    poller = Poller(
        store,
        settings(providers=("local", "replicate"), keys=(Key("far-1", "replicate", 60),)),
        pool,
        leases,
        Promoter(store, events, clock=clock),
        events,
        may_claim=lambda: desk.may_claim,
        listening=lambda: desk.listening,
        clock=clock,
    )
    desk = Desk(store, clock, pool, leases, poller)
    return desk


def brought(number: int, **changes: Any) -> Claim:
    return Claim(jobs(number, **changes), [])


# how many


def test_no_more_jobs_are_claimed_than_threads_are_idle(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(3), brought(1, first=4))
    desk.poller.step()
    desk.poller.step()
    assert [claim["slots"] for claim in desk.claims()] == [4, 1]
    assert desk.pool.idle == 0


def test_a_worker_without_idle_threads_claims_nothing(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4))
    assert desk.poller.step() == 0
    assert desk.poller.step() == 1.0
    assert len(desk.claims()) == 1


def test_a_claimed_job_is_in_the_book_before_a_thread_has_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    held_at_submit: list[int] = []

    def submit(_: Lease) -> None:
        held_at_submit.append(len(desk.leases))

    monkeypatch.setattr(desk.pool, "submit", submit)
    desk.store.answer("claim_jobs", brought(2))
    desk.poller.step()
    assert held_at_submit == [1, 2]


def test_a_lease_counts_from_before_the_claim_was_sent(desk: Desk) -> None:
    def slowly(*_: Any, **__: Any) -> Claim:
        desk.clock.advance(20)
        return brought(1)

    sent_at = desk.clock()
    desk.store.answer("claim_jobs", slowly)
    desk.poller.step()
    (lease,) = desk.leases.all()
    assert (lease.claimed_at, lease.proved_at, lease.deadline) == (sent_at, sent_at, sent_at + 600)


def test_claiming_pauses_while_too_many_settlements_are_unwritten(desk: Desk) -> None:
    for job in jobs(4 + UNWRITTEN):
        desk.leases.add(Lease(job, claimed_at=0, duration=60, timeout=600))
    assert desk.poller.step() == 1.0
    assert desk.claims() == []
    desk.leases.remove(desk.leases.all()[0])
    desk.poller.step()
    assert [claim["slots"] for claim in desk.claims()] == [4]


def test_nothing_is_claimed_while_no_lease_can_be_proved(desk: Desk) -> None:
    desk.may_claim = False
    assert desk.poller.step() == 1.0
    assert desk.store.asked == []


# marks


def test_a_full_claim_lets_the_next_one_begin_where_it_ended(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4))
    desk.poller.step()
    free_all(desk)
    desk.poller.step()
    first, second = desk.claims()
    assert first["marks"] == {"local": LANE_START, "replicate": LANE_START, "none": LANE_START}
    assert second["marks"] == first["marks"] | {"local": jobs(4)[-1].cursor}


def test_each_lane_has_a_mark_of_its_own(desk: Desk) -> None:
    mixed: list[Job] = [*jobs(2), *jobs(2, provider="replicate", first=3)]
    desk.store.answer("claim_jobs", Claim(mixed[::-1], []))
    desk.poller.step()
    free_all(desk)
    desk.poller.step()
    assert desk.claims()[1]["marks"] == {"local": mixed[1].cursor, "replicate": mixed[3].cursor, "none": LANE_START}


def test_a_short_claim_has_seen_the_end_of_the_line(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4), brought(3, first=5), NO_CLAIM)
    for _ in range(3):
        desk.poller.step()
        free_all(desk)
    assert desk.claims()[1]["marks"]["local"] != LANE_START
    assert desk.claims()[2]["marks"]["local"] == LANE_START


def test_marks_are_forgotten_after_a_while(desk: Desk) -> None:
    desk.store.answer("claim_jobs", *(brought(4, first=1 + 4 * n) for n in range(3)))
    desk.poller.step()
    for passed in (MARKS_KEPT - 0.1, 0.1):
        free_all(desk)
        desk.clock.advance(passed)
        desk.poller.step()
    assert [claim["marks"]["local"] == LANE_START for claim in desk.claims()] == [True, False, True]


def test_marks_are_forgotten_when_there_may_be_work_anywhere_in_the_line(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4))
    desk.poller.step()
    free_all(desk)
    desk.poller.look_now()
    desk.poller.step()
    assert desk.claims()[1]["marks"]["local"] == LANE_START


# refusals


def test_a_refused_job_is_told_of(desk: Desk, told: Told) -> None:
    desk.store.answer("claim_jobs", Claim([], [Refusal("job-9", "ada", 7.0, TRACEPARENT)]))
    desk.poller.step()
    assert told.fields("job.refused") == {
        "job": "job-9",
        "user": "ada",
        "trace_id": TRACEPARENT[3:35],
        "traceparent": TRACEPARENT,
        "age": 7.0,
        "error_code": "insufficient_credits",
    }


@pytest.mark.parametrize("number", [1, 4])
def test_whoever_stands_behind_a_refused_job_does_not_wait_for_the_next_poll(desk: Desk, number: int) -> None:
    desk.listening = True
    refusals = [Refusal(f"poor-{n}", "ada") for n in range(number)]
    desk.store.answer("claim_jobs", Claim([], refusals), brought(1))
    assert desk.poller.step() == 0
    assert not desk.poller.empty
    desk.poller.step()
    assert len(desk.leases) == 1
    assert desk.store.calls("set_asleep") == []


# how often


def test_a_busy_line_is_looked_at_again_at_once(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4))
    assert desk.poller.step() == 0


def test_a_finished_thread_wakes_the_poller_only_while_there_is_more_to_take(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[None] = []
    monkeypatch.setattr(desk.poller.loop, "wake", lambda: woken.append(None))
    desk.store.answer("claim_jobs", brought(4), NO_CLAIM)
    desk.poller.step()
    desk.poller.job_finished()
    assert len(woken) == 1
    free_all(desk)
    desk.poller.step()
    desk.poller.job_finished()
    assert len(woken) == 1


def test_polling_goes_on_at_its_interval_while_nobody_would_wake_us(desk: Desk) -> None:
    assert [desk.poller.step() for _ in range(3)] == [1.0, 1.0, 1.0]
    assert desk.store.calls("set_asleep") == []


def test_a_listening_worker_falls_asleep_and_looks_once_more(desk: Desk) -> None:
    """What was enqueued before the worker was known to sleep has notified nobody."""
    desk.listening = True
    assert desk.poller.step() == 0
    assert desk.store.calls("set_asleep") == [(("worker-1",), {"asleep": True})]
    assert desk.poller.step() != 0
    assert len(desk.claims()) == 2


def test_a_sleeping_worker_asks_for_little(desk: Desk) -> None:
    desk.listening = True
    desk.step_until_rest()
    desk.store.asked.clear()
    for _ in range(12):
        desk.clock.advance(desk.step_until_rest())
    assert len(desk.store.asked) <= 2 * 12 + 1
    assert desk.clock() >= 1000 + 12 * 5 - 5


def test_a_worker_that_finds_work_does_not_fall_asleep_before_the_line_is_empty(desk: Desk) -> None:
    desk.listening = True
    desk.store.answer("claim_jobs", brought(1), NO_CLAIM)
    assert desk.poller.step() == 0
    assert desk.store.calls("set_asleep") == []
    desk.poller.step()
    assert len(desk.store.calls("set_asleep")) == 1


def test_a_worker_with_a_full_line_says_that_it_is_awake(desk: Desk) -> None:
    desk.listening = True
    desk.step_until_rest()
    desk.store.answer("claim_jobs", brought(4))
    desk.poller.look_now()
    assert desk.poller.step() == 0
    assert [kwargs["asleep"] for _, kwargs in desk.store.calls("set_asleep")] == [True, False]


def test_a_worker_that_could_not_say_that_it_sleeps_says_it_again(desk: Desk) -> None:
    desk.listening = True
    desk.store.answer("set_asleep", unavailable)
    with pytest.raises(StoreUnavailable):
        desk.poller.step()
    desk.poller.step()
    assert len(desk.store.calls("set_asleep")) == 2


def test_a_worker_that_does_not_hear_any_more_polls_quickly_again(desk: Desk) -> None:
    desk.listening = True
    desk.clock.advance(desk.step_until_rest())
    assert desk.step_until_rest() == 5.0
    desk.listening = False
    desk.clock.advance(5)
    assert desk.step_until_rest() == 1.0


@pytest.mark.parametrize("listening", [True, False])
def test_a_worker_never_sleeps_past_a_job_that_will_be_due(desk: Desk, listening: bool) -> None:
    desk.listening = listening
    desk.store.answer("promote_jobs", Promotion(0, 0.4))
    assert desk.step_until_rest() == pytest.approx(0.4)


def test_a_worker_at_rest_hears_of_a_job_that_will_be_due_sooner(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[None] = []
    monkeypatch.setattr(desk.poller.loop, "wake", lambda: woken.append(None))
    desk.listening = True
    assert desk.step_until_rest() > 0.3
    desk.poller.due_in(0.3)
    assert len(woken) == 1
    assert desk.step_until_rest() == pytest.approx(0.3)
    desk.poller.due_in(60)
    assert len(woken) == 1


def test_promotion_comes_before_the_claim(desk: Desk) -> None:
    desk.poller.step()
    assert [name for name, _, _ in desk.store.asked] == ["promote_jobs", "claim_jobs"]


# an empty line


@pytest.mark.parametrize(
    ("claim", "empty"), [(NO_CLAIM, True), (brought(1), False), (Claim([], [Refusal("job-1", "ada")]), False)]
)
def test_the_line_is_empty_when_there_was_nothing_to_start_and_nothing_to_refuse(
    desk: Desk, claim: Claim, empty: bool
) -> None:
    assert not desk.poller.empty
    desk.store.answer("claim_jobs", claim)
    desk.poller.step()
    assert desk.poller.empty is empty


# outside a gate


@pytest.mark.parametrize(("opens_in", "rest"), [(0.4, 0.4), (0.0, 0.05), (600.0, 1.0)])
def test_jobs_outside_a_gate_are_looked_at_when_it_opens(desk: Desk, opens_in: float, rest: float) -> None:
    desk.listening = True
    desk.store.answer("claim_jobs", *[Claim([], [], opens_in)] * 3)
    assert desk.poller.step() == rest
    assert desk.store.calls("set_asleep") == []  # whoever waits for a gate does not wait to be woken


@pytest.mark.parametrize(("opens_in", "empty"), [(30.0, False), (60.6, False), (61.0, True), (86_400.0, True)])
def test_the_line_is_not_empty_while_a_gate_opens_within_its_minute(desk: Desk, opens_in: float, empty: bool) -> None:
    desk.store.answer("claim_jobs", Claim([], [], opens_in))
    desk.poller.step()
    assert desk.poller.empty is empty


def test_a_claim_that_a_gate_cut_short_goes_on_where_it_ended(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(2)._replace(opens_in=0.1))
    desk.poller.step()
    desk.poller.step()
    assert desk.claims()[1]["marks"]["local"].id == "job-2"


def test_jobs_move_while_a_breaker_is_open_and_are_looked_for_at_once(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(2)._replace(opens_in=30.0, broken=True))
    desk.store.answer("move_jobs", 3)
    assert desk.poller.step() == 0
    desk.poller.step()
    assert desk.claims()[1]["marks"]["local"] == LANE_START


def test_nothing_is_moved_while_the_gate_is_only_limited(desk: Desk) -> None:
    desk.store.answer("claim_jobs", Claim([], [], 30.0))
    desk.poller.step()
    assert desk.store.calls("move_jobs") == []


def test_the_worker_claims_with_its_keys(desk: Desk) -> None:
    desk.poller.step()
    assert desk.claims()[0]["keys"] == (Key("far-1", "replicate", 60),)


def test_a_claim_that_failed_leaves_the_marks_as_they_were(desk: Desk) -> None:
    desk.store.answer("claim_jobs", brought(4), unavailable)
    desk.poller.step()
    free_all(desk)
    with pytest.raises(StoreUnavailable):
        desk.poller.step()
    desk.poller.step()
    _, second, third = desk.claims()
    assert second["marks"] == third["marks"]


def free_all(desk: Desk) -> None:
    """As if the threads had finished what they had."""
    rest: Callable[[Lease], None] = desk.leases.remove
    for lease in desk.leases.all():
        rest(lease)
    desk.pool._busy = 0  # pyright: ignore[reportPrivateUsage]
