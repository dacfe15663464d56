"""Tells the app: takes from the outbox what is due, has it posted, and writes what came of it.

At least once, with the same id each time: a worker that dies between the answer and its record leaves a delivery whose
lease runs out, and the next one sends it again.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from queue import SimpleQueue

from generation_worker.domain.webhook import Judgement, Reply, judge
from generation_worker.events import Events
from generation_worker.ports import Delivery, Outbox, Poster, Recorded, StoreUnavailable
from generation_worker.worker.lease import Clock
from generation_worker.worker.loop import Loop

# The threads that post messages, and whom they are at.


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


SENDERS = 8
PER_ENDPOINT = 4
FAILING = 4
"""Threads for all endpoints together that have failed before: as many are left for those that answer."""
SPARE = 15.0
"""Seconds of a delivery's lease beyond the longest try, for a database that is slow to take the record."""
REST = 5.0
"""Seconds between two looks: what somebody else than this worker has ended waits no longer than that."""
BATCHES = 100
STEP = 0.01


class Courier:
    """Asks the database nothing while no endpoint is to be told anything."""

    def __init__(
        self,
        outbox: Outbox,
        poster: Poster,
        events: Events,
        *,
        senders: int = SENDERS,
        rest: float = REST,
        clock: Clock = time.monotonic,
    ) -> None:
        self.outbox = outbox
        self._poster = poster
        self._events = events
        self._rest = rest
        self._clock = clock
        self._lease = poster.longest + SPARE
        self._senders = Senders(senders, self._send, finished=self._look_again, failed=self._sending_failed)
        self._wanted: frozenset[str] = frozenset()
        self._looks = 0
        self._quiet_look = 0
        self.loop = Loop("courier", self.step, events)

    def follow(self, wanted: Collection[str]) -> None:
        """From now on endpoints are to be told of ``wanted``; of nothing, there is nothing to do."""
        self._wanted = frozenset(wanted)
        self.look_now()

    def look_now(self) -> None:
        """Something may be in the outbox."""
        if self._wanted:
            self.loop.wake()

    def step(self) -> float | None:
        """Take what is due and hand it over. Returns when to look again."""
        if not self._wanted:
            return None
        self._looks += 1
        look, busy = self._looks, self._senders.busy
        if "batch.finished" in self._wanted:
            self.outbox.finish_batches(limit=BATCHES)
        taken = self._take()
        for delivery in taken:
            self._senders.submit(delivery)
        if not taken and not busy:
            self._quiet_look = look
        return 0 if taken and self._senders.idle else self._rest

    def finish(self, *, within: float) -> None:
        """Return when nothing is due and nothing is being sent, or ``within`` seconds from now."""
        until, look = self._clock() + within, self._looks
        self.look_now()
        while self._wanted and self._quiet_look <= look and self._clock() < until:
            time.sleep(STEP)

    @property
    def longest(self) -> float:
        """Seconds after which any try has ended and is written."""
        return self._lease

    def _take(self) -> list[Delivery]:
        slots = self._senders.idle
        if not slots:
            return []
        return self.outbox.claim_deliveries(
            slots=slots,
            per_endpoint=PER_ENDPOINT,
            failing_slots=max(FAILING - self._senders.at_failing(), 0),
            busy=self._senders.by_endpoint(),
            lease=self._lease,
        )

    def _send(self, delivery: Delivery) -> None:
        begun = self._clock()
        reply = self._post(delivery)
        seconds = self._clock() - begun
        judgement = judge(reply, attempts=delivery.attempts, spread=random.random())  # noqa: S311 - jitter, no secret
        try:
            recorded = self.outbox.record_delivery(delivery, reply, judgement)
        except StoreUnavailable as error:
            self._events.emit("delivery.unrecorded", **delivery.tags, error=str(error))
            return
        self._tell(delivery, reply, judgement, recorded, seconds)

    def _post(self, delivery: Delivery) -> Reply:
        """A fault of ours counts as a try too: otherwise it would be tried for ever."""
        try:
            return self._poster.post(delivery)
        except Exception as error:  # noqa: BLE001
            self._sending_failed(delivery, error)
            return Reply(None, f"it could not be sent: {type(error).__name__}")

    def _tell(self, delivery: Delivery, reply: Reply, judgement: Judgement, recorded: Recorded, seconds: float) -> None:
        outcome = {"delivered": "delivered", "pending": "failed", "dead": "dead"}[judgement.status]
        self._events.emit(
            "delivery.ended",
            **delivery.tags,
            attempt=delivery.attempts,
            outcome=outcome if recorded.held else "lost",
            status=reply.status,
            seconds=seconds,
            error=judgement.problem,
        )
        if recorded.held and judgement.status == "dead":
            self._events.emit("delivery.dead", **delivery.tags, error=judgement.problem)
        if recorded.disabled_for:
            self._events.emit("endpoint.disabled", endpoint=delivery.endpoint, reason=recorded.disabled_for)

    def _look_again(self) -> None:
        """A thread is idle, and its endpoint may have had no room for more."""
        self.loop.wake()

    def _sending_failed(self, delivery: Delivery, error: BaseException) -> None:
        self._events.emit("delivery.broke", **delivery.tags, exc_info=error)
