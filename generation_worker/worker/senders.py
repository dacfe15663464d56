"""The threads that post messages, and whom they are at."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue

from generation_worker.ports import Delivery


class Senders:
    """Up to ``number`` daemon threads: they begin when there is something to send, and hold up nobody's end."""

    def __init__(
        self,
        number: int,
        send: Callable[[Delivery], None],
        *,
        finished: Callable[[], None],
        failed: Callable[[Delivery, BaseException], None],
    ) -> None:
        """``failed`` is told what escaped from ``send``; ``finished`` is called whenever a thread is idle again."""
        self._number = number
        self._send = send
        self._finished = finished
        self._failed = failed
        self._queue: SimpleQueue[Delivery] = SimpleQueue()
        self._lock = threading.Lock()
        self._under_way: list[Delivery] = []
        self._threads = 0

    def submit(self, delivery: Delivery) -> None:
        """Send it. Call it for no more deliveries than threads are idle."""
        with self._lock:
            self._under_way.append(delivery)
            missing = self._threads < len(self._under_way)
            number = self._threads = self._threads + missing
        if missing:
            threading.Thread(target=self._run, name=f"sender-{number}", daemon=True).start()
        self._queue.put(delivery)

    @property
    def idle(self) -> int:
        with self._lock:
            return self._number - len(self._under_way)

    @property
    def busy(self) -> int:
        with self._lock:
            return len(self._under_way)

    def by_endpoint(self) -> dict[str, int]:
        """How many threads are at each endpoint that somebody is at."""
        with self._lock:
            return dict(Counter(delivery.endpoint for delivery in self._under_way))

    def at_failing(self) -> int:
        """How many threads are at endpoints that have failed before."""
        with self._lock:
            return sum(delivery.failing for delivery in self._under_way)

    def _run(self) -> None:
        while True:
            delivery = self._queue.get()
            try:
                self._send(delivery)
            except BaseException as error:  # noqa: BLE001 - a thread that vanished would be missing for ever
                self._failed(delivery, error)
            with self._lock:
                self._under_way.remove(delivery)
            self._finished()
