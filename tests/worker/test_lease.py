"""Whether an attempt may continue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from generation_worker.domain.errors import AttemptTimedOut, CancelRequested, LeaseLost, ShuttingDown
from generation_worker.worker.lease import PROVED_FOR, Lease, LeaseBook
from tests.domain.jobs import a_job
from tests.worker.scripted_store import Clock, lease


@pytest.mark.parametrize(
    ("timeout", "seconds_left", "passed"), [(600, 3600, 600), (600, 20, 20), (600, 0, 0), (600, -5, 0), (5, 3600, 5)]
)
def test_an_attempt_ends_at_its_own_time_or_the_jobs(
    clock: Clock, timeout: float, seconds_left: float, passed: float
) -> None:
    attempt = lease(a_job(seconds_left=seconds_left), clock=clock, timeout=timeout, duration=1e6)
    clock.advance(passed - 0.001)
    if passed:
        attempt.check()
    clock.advance(0.002)
    with pytest.raises(AttemptTimedOut):
        attempt.check()
    assert attempt.seconds_left() == 0


def test_a_lease_is_believed_for_a_part_of_its_time_only(clock: Clock) -> None:
    attempt = lease(clock=clock, duration=60)
    clock.advance(60 * PROVED_FOR)
    attempt.check()
    clock.advance(0.001)
    with pytest.raises(LeaseLost):
        attempt.check()


def test_a_proof_counts_from_when_it_was_asked_for(clock: Clock) -> None:
    attempt = lease(clock=clock, duration=60)
    asked_at = clock()
    clock.advance(40)
    attempt.prove(asked_at + 20)
    clock.advance(20)
    attempt.check()
    clock.advance(6)
    with pytest.raises(LeaseLost):
        attempt.check()


def test_an_older_proof_takes_nothing_from_a_newer_one(clock: Clock) -> None:
    attempt = lease(clock=clock)
    attempt.prove(clock() + 30)
    attempt.prove(clock())
    assert attempt.proved_at == clock() + 30


STOPS: list[tuple[Callable[[Lease], None], type[Exception]]] = [
    (Lease.cancel, CancelRequested),
    (Lease.lose, LeaseLost),
    (Lease.release, ShuttingDown),
]


@pytest.mark.parametrize(("stop", "reason"), STOPS)
def test_an_attempt_that_is_stopped_learns_why(stop: Callable[[Lease], None], reason: type[Exception]) -> None:
    attempt = lease()
    stop(attempt)
    for _ in range(2):
        with pytest.raises(reason):
            attempt.check()
    with pytest.raises(reason):
        attempt.pause(10)


@pytest.mark.parametrize(("stop", "reason"), STOPS)
def test_the_first_reason_counts_unless_the_lease_is_lost(
    stop: Callable[[Lease], None], reason: type[Exception]
) -> None:
    attempt = lease()
    stop(attempt)
    attempt.release()
    attempt.cancel()
    with pytest.raises(reason):
        attempt.check()
    attempt.lose()
    assert attempt.lost
    with pytest.raises(LeaseLost):
        attempt.check()


@pytest.mark.parametrize(("stop", "reason"), STOPS)
def test_a_pause_ends_when_the_attempt_is_stopped(stop: Callable[[Lease], None], reason: type[Exception]) -> None:
    attempt = Lease(a_job(), claimed_at=time.monotonic(), duration=60, timeout=600)
    threading.Timer(0.01, stop, [attempt]).start()
    began = time.monotonic()
    with pytest.raises(reason):
        attempt.pause(30)
    assert time.monotonic() - began < 25


def test_a_pause_lasts_as_long_as_it_was_asked_for() -> None:
    attempt = Lease(a_job(), claimed_at=time.monotonic(), duration=60, timeout=600)
    began = time.monotonic()
    attempt.pause(0.02)
    assert time.monotonic() - began >= 0.02


def test_a_pause_ends_at_the_deadline() -> None:
    attempt = Lease(a_job(), claimed_at=time.monotonic(), duration=60, timeout=0.02)
    with pytest.raises(AttemptTimedOut):
        attempt.pause(30)


def test_a_pause_ends_when_the_lease_cannot_be_proved_any_more() -> None:
    attempt = Lease(a_job(), claimed_at=time.monotonic(), duration=0.04, timeout=600)
    with pytest.raises(LeaseLost):
        attempt.pause(30)


def test_an_attempt_is_overdue_after_its_deadline_and_the_grace(clock: Clock) -> None:
    attempt = lease(clock=clock, timeout=600)
    clock.advance(610)
    assert not attempt.overdue(10)
    clock.advance(0.1)
    assert attempt.overdue(10)


def test_the_book_forgets_the_lease_it_is_told_to_and_no_newer_one() -> None:
    book, older, newer = LeaseBook(), lease(), lease()
    book.add(older)
    book.add(newer)
    book.remove(older)
    assert book.all() == [newer]
    book.remove(newer)
    book.remove(newer)
    assert len(book) == 0


def slow_lease() -> Lease:
    """Looks about in a pause only when it is roused, and times out if it is not."""
    return Lease(a_job(), claimed_at=time.monotonic(), duration=6000, timeout=60)


def test_a_pause_ends_when_it_is_enough() -> None:
    attempt = slow_lease()
    came = threading.Event()

    def come() -> None:
        came.set()
        attempt.wake()

    threading.Timer(0.01, come).start()
    attempt.pause(300, enough=came.is_set)
    assert came.is_set()


def test_a_pause_does_not_begin_when_it_is_enough_already() -> None:
    attempt = slow_lease()
    attempt.wake()
    attempt.pause(300, enough=lambda: True)


def test_who_is_roused_for_nothing_sleeps_on() -> None:
    attempt, came = slow_lease(), threading.Event()
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return came.is_set()

    def come() -> None:
        came.set()
        attempt.wake()

    timers = [threading.Timer(0.05, attempt.wake), threading.Timer(0.2, come)]
    for timer in timers:
        timer.start()
    attempt.pause(300, enough=enough)
    assert came.is_set()
    assert asked <= 3  # at first, and each time that it was roused: it does not turn in circles


@pytest.mark.parametrize(("stop", "reason"), STOPS)
def test_a_stop_is_not_lost_when_the_attempt_is_roused_as_well(
    stop: Callable[[Lease], None], reason: type[Exception]
) -> None:
    attempt = slow_lease()

    def both() -> None:
        attempt.wake()
        stop(attempt)
        attempt.wake()

    threading.Timer(0.01, both).start()
    with pytest.raises(reason):
        attempt.pause(300, enough=lambda: False)
