"""The shape of every loop: run a step, wait until the next one or a wake-up, survive an error, stop on request."""

import threading
from collections.abc import Callable

from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
"""Seconds between tries while the database does not answer."""


class Loop:
    """Runs ``step`` in a thread of its own. A step returns the seconds until the next one (None: until ``wake``).

    An error of a step is emitted, and the step is tried again after growing pauses of up to ``longest_pause`` seconds:
    a loop never ends silently.
    """

    def __init__(
        self, name: str, step: Callable[[], float | None], events: Events, *, longest_pause: float | None = None
    ) -> None:
        self.name = name
        self._longest_pause = LONGEST_PAUSE if longest_pause is None else min(longest_pause, LONGEST_PAUSE)
        self._step = step
        self._events = events
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._faults = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Run the next step now, or right after the one that is running."""
        if not self._wake.is_set():  # it is cleared before a step and never after one: set means that a step follows
            self._wake.set()

    def stop(self) -> None:
        """Run no further step. Returns at once; ``join`` waits."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread to end; whether it did."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def faults(self) -> int:
        """The number of steps that have failed since the last one that succeeded."""
        return self._faults

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._one_step()
            self._wake.wait(pause)
            self._wake.clear()

    def _one_step(self) -> float | None:
        try:
            pause = self._step()
        except StoreUnavailable as error:
            return self._after_fault("database.unavailable", str(error))
        except Exception as error:  # noqa: BLE001 - a loop outlives every error of its steps, and emits it
            return self._after_fault("loop.failed", repr(error), error)
        if self._faults:
            self._faults = 0
            self._events.emit("loop.recovered", loop=self.name)
        return pause

    def _after_fault(self, event: str, problem: str, error: BaseException | None = None) -> float:
        self._faults += 1
        self._events.emit(event, loop=self.name, error=problem, times=self._faults, exc_info=error)
        pause = min(FIRST_PAUSE * 2 ** min(self._faults - 1, 16), self._longest_pause)
        self._wake.clear()  # a wake-up must not turn an error into a busy loop
        self._stop.wait(pause)
        return 0
