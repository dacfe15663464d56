"""The threads that work: counted at any moment, and none is lost to what happens in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator

import pytest

from generation_worker.worker.lease import Lease
from generation_worker.worker.pool import ThreadPool
from tests.support.waiting import PATIENCE, wait_until
from tests.worker.scripted_store import Clock, jobs, lease


class Hall:
    """A pool whose work waits until the test lets it go on."""

    def __init__(self, size: int) -> None:
        self.go_on = threading.Event()
        self.started = threading.Semaphore(0)
        self.idle = threading.Semaphore(0)
        self.failed: list[tuple[Lease, BaseException]] = []
        self.raises: list[BaseException] = []
        self.done: list[Lease] = []
        self.pool = ThreadPool(
            size, self._work, finished=self.idle.release, failed=lambda lost, error: self.failed.append((lost, error))
        )
        self.pool.start()

    def _work(self, given: Lease) -> None:
        self.started.release()
        assert self.go_on.wait(PATIENCE)
        if self.raises:
            raise self.raises.pop()
        self.done.append(given)

    def submit(self, *leases: Lease) -> None:
        for given in leases:
            self.pool.submit(given)
        for _ in leases:
            assert self.started.acquire(timeout=PATIENCE)

    def finish(self, number: int) -> None:
        self.go_on.set()
        for _ in range(number):
            assert self.idle.acquire(timeout=PATIENCE)


@pytest.fixture
def hall() -> Iterator[Callable[[int], Hall]]:
    halls: list[Hall] = []

    def make(size: int) -> Hall:
        halls.append(Hall(size))
        return halls[-1]

    yield make
    for made in halls:
        made.go_on.set()
        made.pool.stop()


def test_idle_threads_are_known_at_any_moment(hall: Callable[[int], Hall]) -> None:
    full = hall(3)
    given = [lease(job) for job in jobs(2)]
    assert (full.pool.idle, full.pool.busy) == (3, 0)
    full.submit(*given)
    assert (full.pool.idle, full.pool.busy) == (1, 2)
    assert sorted(running.job.id for running in full.pool.running()) == ["job-1", "job-2"]
    full.finish(2)
    assert (full.pool.idle, full.pool.running()) == (3, [])


def test_a_lease_counts_as_busy_from_the_moment_that_it_is_handed_over(hall: Callable[[int], Hall]) -> None:
    full = hall(1)
    full.pool.submit(lease())
    assert full.pool.idle == 0


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_thread_outlives_whatever_happens_in_it(hall: Callable[[int], Hall], error: BaseException) -> None:
    full = hall(1)
    full.raises.append(error)
    first, second = (lease(job) for job in jobs(2))
    full.submit(first)
    full.finish(1)
    assert full.failed == [(first, error)]
    assert full.pool.idle == 1
    full.submit(second)
    full.finish(1)
    assert full.done == [second]


def test_a_thread_that_does_not_come_back_is_stuck_after_the_grace(hall: Callable[[int], Hall], clock: Clock) -> None:
    full = hall(2)
    stuck, healthy = lease(jobs(1)[0], clock=clock, timeout=10), lease(jobs(2)[1], clock=clock, timeout=100)
    full.submit(stuck, healthy)
    clock.advance(15)
    assert full.pool.stuck(10) == []
    clock.advance(6)
    assert full.pool.stuck(10) == [stuck]
    full.finish(2)
    assert full.pool.stuck(10) == []


def test_threads_end_when_they_have_nothing_to_do(hall: Callable[[int], Hall]) -> None:
    full = hall(2)
    full.submit(lease())
    full.pool.stop()
    full.finish(1)
    until = time.monotonic() + PATIENCE
    while any(thread.name.startswith("job-") and thread.is_alive() for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.001)


def threads(but: Collection[threading.Thread] = ()) -> list[threading.Thread]:
    """The pools' threads; those of earlier tests may still be about to end, and are left out."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("job-") and thread not in but]


def test_a_pool_that_grows_works_on_more_at_once(hall: Callable[[int], Hall]) -> None:
    made = hall(1)
    first, *more = [lease(job) for job in jobs(3)]
    made.submit(first)
    made.pool.resize(3)
    assert (made.pool.size, made.pool.idle) == (3, 2)
    made.submit(*more)
    assert (made.pool.busy, made.pool.idle) == (3, 0)
    made.finish(3)


def test_a_pool_that_shrinks_ends_no_attempt(hall: Callable[[int], Hall]) -> None:
    others = threads()
    made = hall(3)
    made.submit(*(lease(job) for job in jobs(3)))
    made.pool.resize(1)
    assert (made.pool.size, made.pool.busy, made.pool.idle) == (1, 3, 0)
    made.finish(3)
    assert len(made.done) == 3
    wait_until(lambda: len(threads(others)) == 1, "two threads end")
    made.submit(lease(jobs(1)[0]))
    made.finish(1)
    assert made.pool.idle == 1


def test_a_pool_that_shrinks_and_grows_again_has_as_many_threads_as_was_said_last(hall: Callable[[int], Hall]) -> None:
    others = threads()
    made = hall(4)
    made.submit(*(lease(job) for job in jobs(4)))
    for size in (1, 4, 2, 3):
        made.pool.resize(size)
    made.finish(4)
    wait_until(lambda: len(threads(others)) == 3, "one thread ends")
    made.go_on.clear()
    made.submit(*(lease(job) for job in jobs(3)))
    assert made.pool.idle == 0
