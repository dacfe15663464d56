"""The promoter asks only when something may be due, and never later than that."""

from __future__ import annotations

import pytest

from generation_worker.events import Events
from generation_worker.ports import Promotion, StoreUnavailable
from generation_worker.worker.poller import PROMOTE_BATCH, Promoter
from tests.worker.scripted_store import Clock, RecordedEvents, ScriptedStore, unavailable


@pytest.fixture
def promoter(store: ScriptedStore, events: Events, clock: Clock) -> Promoter:
    return Promoter(store, events, clock=clock)


def asked(store: ScriptedStore) -> int:
    return len(store.calls("promote_jobs"))


def test_a_new_worker_looks_at_once(promoter: Promoter, store: ScriptedStore) -> None:
    promoter.promote(check_again_in=5)
    assert asked(store) == 1


def test_nothing_is_asked_before_something_may_be_due(promoter: Promoter, store: ScriptedStore, clock: Clock) -> None:
    promoter.promote(check_again_in=5)
    clock.advance(4.9)
    promoter.promote(check_again_in=5)
    assert asked(store) == 1
    clock.advance(0.1)
    promoter.promote(check_again_in=5)
    assert asked(store) == 2


def test_the_next_due_job_is_looked_for_when_it_is_due(promoter: Promoter, store: ScriptedStore, clock: Clock) -> None:
    store.answer("promote_jobs", Promotion(0, 2.5))
    promoter.promote(check_again_in=5)
    assert promoter.seconds_to_next_check == 2.5
    clock.advance(2.5)
    promoter.promote(check_again_in=5)
    assert asked(store) == 2


@pytest.mark.parametrize("next_due", [3600.0, float("inf")])
def test_a_job_that_is_due_much_later_changes_nothing(
    promoter: Promoter, store: ScriptedStore, next_due: float
) -> None:
    store.answer("promote_jobs", Promotion(0, next_due))
    promoter.promote(check_again_in=5)
    assert promoter.seconds_to_next_check == 5


def test_a_job_of_ours_that_will_be_due_is_known(promoter: Promoter, store: ScriptedStore) -> None:
    promoter.promote(check_again_in=5)
    promoter.due_in(3)
    promoter.due_in(4)
    assert promoter.seconds_to_next_check == 3


def test_a_job_that_becomes_due_while_the_question_is_asked_is_not_forgotten(
    promoter: Promoter, store: ScriptedStore
) -> None:
    def meanwhile(**_: object) -> Promotion:
        promoter.due_in(0.5)
        return Promotion(0, None)

    store.answer("promote_jobs", meanwhile)
    promoter.promote(check_again_in=5)
    assert promoter.seconds_to_next_check == 0.5


def test_a_full_batch_is_followed_by_the_next_one(
    promoter: Promoter, store: ScriptedStore, recorded: RecordedEvents
) -> None:
    store.answer("promote_jobs", Promotion(PROMOTE_BATCH, None), Promotion(1, None))
    assert promoter.promote(check_again_in=5) == PROMOTE_BATCH
    assert promoter.promote(check_again_in=5) == 1
    assert [fields["number"] for _, fields in recorded.events] == [PROMOTE_BATCH, 1]


def test_somebody_who_changed_something_makes_us_look(promoter: Promoter, store: ScriptedStore) -> None:
    promoter.promote(check_again_in=5)
    promoter.check_now()
    promoter.promote(check_again_in=5)
    assert asked(store) == 2


def test_a_database_that_does_not_answer_is_asked_later(promoter: Promoter, store: ScriptedStore, clock: Clock) -> None:
    store.answer("promote_jobs", unavailable)
    with pytest.raises(StoreUnavailable):
        promoter.promote(check_again_in=5)
    assert promoter.seconds_to_next_check == 5


def test_a_promotion_that_fails_is_told_and_keeps_nothing_that_is_pending_from_being_claimed(
    promoter: Promoter, store: ScriptedStore, recorded: RecordedEvents
) -> None:
    store.answer("promote_jobs", ValueError("timestamp out of range"))
    assert promoter.promote(check_again_in=5) == 0
    assert [name for name, _ in recorded.events] == ["promotion.failed"]
