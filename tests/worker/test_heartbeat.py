"""The heartbeat: it proves, it loses, it brings requests to cancel, and it knows when it last could."""

from __future__ import annotations

import pytest

from generation_worker.domain.errors import CancelRequested, LeaseLost
from generation_worker.events import Events
from generation_worker.ports import Renewal, StoreUnavailable
from generation_worker.worker import loop
from generation_worker.worker.lease import Heartbeat, Lease, LeaseBook
from tests.support.waiting import PATIENCE, wait_until
from tests.worker.scripted_store import RENEWED, Clock, ScriptedStore, jobs, lease, settings, unavailable


@pytest.fixture
def leases() -> LeaseBook:
    return LeaseBook()


@pytest.fixture
def touched() -> list[None]:
    return []


@pytest.fixture
def heartbeat(store: ScriptedStore, leases: LeaseBook, events: Events, clock: Clock, touched: list[None]) -> Heartbeat:
    return Heartbeat(
        store,
        leases,
        events,
        settings=settings(lease=60),
        touch=lambda: touched.append(None),
        follow=lambda _: None,
        clock=clock,
    )


def hold(leases: LeaseBook, clock: Clock, number: int = 1) -> list[Lease]:
    held = [lease(job, clock=clock) for job in jobs(number)]
    for each in held:
        leases.add(each)
    return held


def test_all_leases_are_renewed_by_one_statement_four_times_in_a_lease(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    hold(leases, clock, 3)
    assert heartbeat.step() == 15
    (((asked,), times),) = store.calls("renew_leases")
    assert asked == [("job-1", "token-1"), ("job-2", "token-2"), ("job-3", "token-3")]
    assert times == {"lease": 60, "timeout": 600, "grace": 10}


def test_a_worker_without_jobs_says_that_it_lives(
    heartbeat: Heartbeat, store: ScriptedStore, touched: list[None]
) -> None:
    heartbeat.step()
    assert store.calls("renew_leases") == []
    assert len(touched) == 1


def test_a_renewed_lease_is_proved_from_when_it_was_asked_for(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    (held,) = hold(leases, clock)
    clock.advance(15)

    def slowly(*_: object, **__: object) -> dict[str, Renewal]:
        clock.advance(8)
        return {"job-1": RENEWED}

    store.answer("renew_leases", slowly)
    heartbeat.step()
    assert held.proved_at == clock() - 8


def test_a_lease_that_does_not_come_back_is_lost(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    kept, lost = hold(leases, clock, 2)
    store.answer("renew_leases", {"job-1": RENEWED})
    heartbeat.step()
    kept.check()
    with pytest.raises(LeaseLost):
        lost.check()
    assert leases.all() == [kept]


@pytest.mark.parametrize("renewed", [True, False])
def test_a_request_to_cancel_reaches_the_attempt(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock, renewed: bool
) -> None:
    (held,) = hold(leases, clock)
    store.answer("renew_leases", {"job-1": Renewal(renewed, cancel_requested=True)})
    heartbeat.step()
    with pytest.raises(CancelRequested):
        held.check()
    assert leases.all() == [held]


def test_a_lease_that_was_passed_over_is_neither_proved_nor_lost(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    passed_over, other = hold(leases, clock, 2)
    for _ in range(4):
        clock.advance(15)
        store.answer("renew_leases", {"job-1": Renewal(False, cancel_requested=False), "job-2": RENEWED})
        heartbeat.step()
    assert heartbeat.proved
    other.check()
    passed_over.check(proof=False)
    with pytest.raises(LeaseLost, match="cannot be proved"):
        passed_over.check()
    heartbeat.step()
    passed_over.check()


def test_a_worker_that_cannot_prove_its_leases_knows_it(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    (held,) = hold(leases, clock)
    store.answer("renew_leases", unavailable, unavailable, unavailable)
    for _ in range(3):
        assert heartbeat.proved
        clock.advance(15.001)
        with pytest.raises(StoreUnavailable):
            heartbeat.step()
    assert not heartbeat.proved
    with pytest.raises(LeaseLost):
        held.check()
    heartbeat.step()
    assert heartbeat.proved
    held.check()


def test_a_beat_that_failed_is_made_up_for_before_the_next_one_is_due(
    store: ScriptedStore, leases: LeaseBook, events: Events, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(loop, "LONGEST_PAUSE", 3600.0)
    hold(leases, clock)
    store.answer("renew_leases", unavailable)
    heartbeat = Heartbeat(
        store, leases, events, settings=settings(lease=0.04), touch=lambda: None, follow=lambda _: None
    )
    heartbeat.loop.start()
    wait_until(lambda: len(store.calls("renew_leases")) > 1, "it beats again")
    heartbeat.loop.stop()
    assert heartbeat.loop.join(PATIENCE)


def test_a_proof_needs_the_whole_beat(heartbeat: Heartbeat, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_touch", unavailable)
    clock.advance(46)
    with pytest.raises(StoreUnavailable):
        heartbeat.step()
    assert not heartbeat.proved


def test_a_lease_that_was_settled_meanwhile_is_not_missed(
    heartbeat: Heartbeat, store: ScriptedStore, leases: LeaseBook, clock: Clock
) -> None:
    (held,) = hold(leases, clock)

    def settled_meanwhile(*_: object, **__: object) -> dict[str, Renewal]:
        leases.remove(held)
        return {}

    store.answer("renew_leases", settled_meanwhile)
    heartbeat.step()
    assert leases.all() == []
