"""The threads that work on jobs, and how many of them are idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue

from generation_worker.worker.lease import Lease

Work = Callable[[Lease], None]


class Pool:
    """Daemon threads, as many as was said last. Not ``concurrent.futures``: the poller must know at any moment how many
    are idle, an exception must not vanish in a future, and a stuck thread must not hold up the end of the process.
    """

    def __init__(
        self,
        size: int,
        work: Work,
        *,
        finished: Callable[[], None],
        failed: Callable[[Lease, BaseException], None],
    ) -> None:
        """``failed`` is told what escaped from ``work``; ``finished`` is called whenever a thread is idle again."""
        self.size = size
        self._work = work
        self._finished = finished
        self._failed = failed
        self._queue: SimpleQueue[Lease | None] = SimpleQueue()  # None: look whether there are too many of you
        self._lock = threading.Lock()
        self._busy = 0
        self._running: dict[int, Lease] = {}
        self._alive = 0
        self._numbers = count()

    def start(self) -> None:
        self.resize(self.size)

    def resize(self, size: int) -> None:
        """Have so many threads from now on. What runs is left alone: a thread too many ends when it is done.

        Raises RuntimeError if the system gives no more threads; those that there are work on.
        """
        with self._lock:
            self.size = size
            missing = size - self._alive
        for _ in range(missing):
            threading.Thread(target=self._run, name=f"job-{next(self._numbers)}", daemon=True).start()
            with self._lock:
                self._alive += 1
        for _ in range(-missing):
            self._queue.put(None)

    def submit(self, lease: Lease) -> None:
        """Start working. Call it for no more leases than are idle."""
        with self._lock:
            self._busy += 1
        self._queue.put(lease)

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def idle(self) -> int:
        """Never below 0, also while more are at work than there should be."""
        return max(0, self.size - self._busy)

    def running(self) -> list[Lease]:
        """The leases that threads are at work on now."""
        return list(self._running.values())

    def stuck(self, grace: float) -> list[Lease]:
        """Attempts that should have ended ``grace`` seconds ago and whose threads have not come back."""
        return [lease for lease in self.running() if lease.overdue(grace)]

    def stop(self) -> None:
        """Let each thread end when it has nothing to do. Returns at once."""
        self.resize(0)

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            lease = self._queue.get()
            if lease is None:
                if self._may_go():
                    return
                continue
            self._running[me] = lease
            try:
                self._work(lease)
            except BaseException as error:  # noqa: BLE001 - a thread that died would be counted as idle for ever
                self._failed(lease, error)
            finally:
                del self._running[me]
                with self._lock:
                    self._busy -= 1
                self._finished()

    def _may_go(self) -> bool:
        """Whether there is a thread too many, which then is this one. Not if there are to be more again meanwhile."""
        with self._lock:
            too_many = self._alive > self.size
            self._alive -= too_many
        return too_many
