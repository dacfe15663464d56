"""The shape of every loop: it survives errors of its steps, waits longer after each, and stops on request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable
from generation_worker.worker import loop as loops
from generation_worker.worker.loop import Loop
from tests.support.waiting import PATIENCE
from tests.worker.scripted_store import RecordedEvents


class Steps:
    """A step that follows a script, and then waits for a wake-up."""

    def __init__(self, *answers: float | BaseException | None) -> None:
        self._answers = list(answers)
        self.times: list[float] = []
        self._counted = threading.Condition()

    def __call__(self) -> float | None:
        with self._counted:
            self.times.append(time.monotonic())
            self._counted.notify_all()
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait_for(self, number: int) -> None:
        with self._counted:
            assert self._counted.wait_for(lambda: len(self.times) >= number, PATIENCE), f"only {len(self.times)} steps"


@pytest.fixture
def start(events: Events, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Steps], Loop]]:
    monkeypatch.setattr(loops, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(loops, "LONGEST_PAUSE", 0.008)
    started: list[Loop] = []

    def start(steps: Steps) -> Loop:
        loop = Loop("test", steps, events)
        started.append(loop)
        loop.start()
        return loop

    yield start
    for loop in started:
        loop.stop()
        assert loop.join(PATIENCE)


Start = Callable[[Steps], Loop]


def test_a_step_says_when_the_next_one_is_worth_doing(start: Start) -> None:
    steps = Steps(0, 0.01, None)
    start(steps)
    steps.wait_for(3)
    assert steps.times[2] - steps.times[1] >= 0.01


def test_a_loop_waits_until_it_is_woken(start: Start) -> None:
    steps = Steps(None)
    loop = start(steps)
    steps.wait_for(1)
    time.sleep(0.02)
    assert len(steps.times) == 1
    loop.wake()
    steps.wait_for(2)


def test_being_woken_during_a_step_is_not_forgotten(events: Events) -> None:
    steps = Steps()
    loop = Loop("test", lambda: (loop.wake() if len(steps.times) == 0 else None, steps())[1], events)
    loop.start()
    steps.wait_for(2)
    loop.stop()
    assert loop.join(PATIENCE)


@pytest.mark.parametrize(
    ("fault", "event"),
    [(StoreUnavailable("down"), "database.unavailable"), (KeyError("x"), "loop.failed")],
)
def test_a_loop_outlives_a_fault_and_says_so(
    start: Start, recorded: RecordedEvents, fault: Exception, event: str
) -> None:
    steps = Steps(fault, fault, None)
    loop = start(steps)
    steps.wait_for(3)
    loop.stop()
    assert loop.join(PATIENCE)
    assert recorded.names == [event, event, "loop.recovered"]
    assert recorded.fields(event)["loop"] == "test"
    assert recorded.fields(event)["times"] == 2
    assert loop.faults == 0


def test_pauses_after_faults_grow_up_to_the_longest_one(start: Start) -> None:
    steps = Steps(*[StoreUnavailable("down")] * 6)
    start(steps)
    steps.wait_for(7)
    pauses = [after - before for before, after in zip(steps.times, steps.times[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.002, 0.004, 0.008, 0.008, 0.008, 0.008), strict=True))


def test_being_woken_does_not_make_a_fault_a_hot_loop(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FIRST_PAUSE", 60.0)
    monkeypatch.setattr(loops, "LONGEST_PAUSE", 60.0)
    steps = Steps(*[StoreUnavailable("down")] * 10)
    loop = start(steps)
    steps.wait_for(1)
    until = time.monotonic() + 0.03
    while time.monotonic() < until:
        loop.wake()
    assert len(steps.times) == 1


def test_a_loop_stops_in_the_middle_of_a_pause(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FIRST_PAUSE", 60.0)
    steps = Steps(StoreUnavailable("down"))
    loop = start(steps)
    steps.wait_for(1)
    loop.stop()
    assert loop.join(PATIENCE)
    assert not loop.alive


def test_a_loop_that_was_stopped_takes_no_further_step(start: Start) -> None:
    steps = Steps(None)
    loop = start(steps)
    steps.wait_for(1)
    loop.stop()
    assert loop.join(PATIENCE)
    loop.wake()
    assert len(steps.times) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_is_made_to_exit_is_seen_to_be_dead(start: Start) -> None:
    loop = start(Steps(SystemExit()))
    assert loop.join(PATIENCE)
    assert not loop.alive
