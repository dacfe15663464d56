"""The threads that work on jobs, and how many of them are idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from generation_worker.worker.lease import Lease

Work = Callable[[Lease], None]


class Pool:
    """A fixed number of daemon threads. Not ``concurrent.futures``: the poller must know at any moment how many are
    idle, an exception must not vanish in a future, and a stuck thread must not hold up the end of the process.
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
        self._queue: SimpleQueue[Lease | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._busy = 0
        self._running: dict[int, Lease] = {}
        self._threads = [threading.Thread(target=self._run, name=f"job-{n}", daemon=True) for n in range(size)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

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
        return self.size - self._busy

    def running(self) -> list[Lease]:
        """The leases that threads are at work on now."""
        return list(self._running.values())

    def stuck(self, grace: float) -> list[Lease]:
        """Attempts that should have ended ``grace`` seconds ago and whose threads have not come back."""
        return [lease for lease in self.running() if lease.overdue(grace)]

    def stop(self) -> None:
        """Let each thread end when it has nothing to do. Returns at once."""
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        me = threading.get_ident()
        while (lease := self._queue.get()) is not None:
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
