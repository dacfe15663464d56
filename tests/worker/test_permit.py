"""A permit is of the moment in which its request leaves."""

from __future__ import annotations

import pytest

from generation_worker.domain.errors import GateClosed
from generation_worker.domain.gate import FRESH
from generation_worker.ports import Admission
from generation_worker.worker.paid_call import Permit
from tests.domain.jobs import a_job
from tests.worker.scripted_store import Clock, ScriptedStore, unavailable


def a_permit(store: ScriptedStore, clock: Clock, decisecond: int | None = 100) -> Permit:
    return Permit(store, a_job(), key_label="far-1", decisecond=decisecond, stamped_at=clock(), clock=clock)


def test_a_fresh_one_is_not_asked_about(store: ScriptedStore, clock: Clock) -> None:
    permit = a_permit(store, clock)
    clock.advance(FRESH)
    permit.freshen(1)
    assert store.asked == []


def test_one_that_has_aged_is_stamped_anew(store: ScriptedStore, clock: Clock) -> None:
    permit = a_permit(store, clock)
    clock.advance(FRESH + 0.01)
    store.answer("renew_permit", Admission(103, None, None))
    permit.freshen(1)
    clock.advance(FRESH + 0.01)
    store.answer("renew_permit", Admission(106, None, None))
    permit.freshen(1)
    assert [named["permit"] for _, named in store.calls("renew_permit")] == [100, 103]


def test_an_answer_that_took_long_is_asked_for_again_but_not_for_ever(store: ScriptedStore, clock: Clock) -> None:
    def slow(*_: object, **__: object) -> Admission:
        clock.advance(1)
        return Admission(100, None, None)

    permit = a_permit(store, clock)
    clock.advance(1)
    store.answer("renew_permit", *[slow] * 10)
    permit.freshen(1)
    assert len(store.calls("renew_permit")) == 3


def test_waiting_for_the_gate_s_row_makes_no_stamp_older(store: ScriptedStore, clock: Clock) -> None:
    def waited(*_: object, **__: object) -> Admission:
        clock.advance(1)
        return Admission(100, None, None, stamped_after=0.9)

    permit = a_permit(store, clock)
    clock.advance(1)
    store.answer("renew_permit", waited)
    permit.freshen(1)
    assert len(store.calls("renew_permit")) == 1


def test_a_gate_that_has_closed_lets_nothing_out(store: ScriptedStore, clock: Clock) -> None:
    permit = a_permit(store, clock)
    clock.advance(1)
    store.answer("renew_permit", Admission(100, 40.0, "429 for the day"))
    with pytest.raises(GateClosed, match="far-1 is closed: 429 for the day") as caught:
        permit.freshen(1)
    assert caught.value.wait == 40.0


def test_nothing_leaves_while_the_database_is_silent(store: ScriptedStore, clock: Clock) -> None:
    permit = a_permit(store, clock)
    clock.advance(1)
    store.answer("renew_permit", unavailable)
    with pytest.raises(GateClosed):
        permit.freshen(1)


@pytest.mark.parametrize("how", ["never had one", "it is gone"])
def test_a_key_without_a_limit_needs_none(store: ScriptedStore, clock: Clock, how: str) -> None:
    permit = a_permit(store, clock, None if how == "never had one" else 100)
    for _ in range(2):
        clock.advance(1)
        permit.freshen(1)
    assert len(store.calls("renew_permit")) == (0 if how == "never had one" else 1)
