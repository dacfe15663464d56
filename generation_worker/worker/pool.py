"""The threads that work on jobs."""

import threading
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue

from generation_worker.worker.lease import Lease


class ThreadPool:
    """A number of daemon threads that can change.

    Not ``concurrent.futures``: the poller must know at any moment how many threads are idle, an exception must not
    vanish in a future, and a stuck thread must not delay the end of the process.
    """

    def __init__(
        self,
        size: int,
        work: Callable[[Lease], None],
        *,
        finished: Callable[[], None],
        failed: Callable[[Lease, BaseException], None],
    ) -> None:
        """``failed`` gets exceptions that escape from ``work``; ``finished`` is called when a thread is idle again."""
        self.size = size
        self._work = work
        self._finished = finished
        self._failed = failed
        self._queue: SimpleQueue[Lease | None] = SimpleQueue()  # None: one thread may end
        self._lock = threading.Lock()
        self._busy = 0
        self._running: dict[int, Lease] = {}
        self._alive = 0
        self._numbers = count()

    def start(self) -> None:
        self.resize(self.size)

    def resize(self, size: int) -> None:
        """Change the number of threads. Running jobs continue: a surplus thread ends after its job.

        Raises RuntimeError if the system starts no more threads; the existing ones continue.
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
        """Start work on a lease. The caller submits no more leases than threads are idle."""
        with self._lock:
            self._busy += 1
        self._queue.put(lease)

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def idle(self) -> int:
        """Never below 0, also while surplus threads are busy."""
        return max(0, self.size - self._busy)

    def running(self) -> list[Lease]:
        """The leases that threads work on now."""
        return list(self._running.values())

    def stuck(self, grace: float) -> list[Lease]:
        """Attempts that should have ended ``grace`` seconds ago and whose threads have not returned."""
        return [lease for lease in self.running() if lease.overdue(grace)]

    def stop(self) -> None:
        """Let each thread end when it is idle. Returns at once."""
        self.resize(0)

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            lease = self._queue.get()
            if lease is None:
                if self._may_end():
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

    def _may_end(self) -> bool:
        """Whether there is a surplus thread, which is this one. There is none if the size has grown again meanwhile."""
        with self._lock:
            surplus = self._alive > self.size
            self._alive -= surplus
        return surplus
