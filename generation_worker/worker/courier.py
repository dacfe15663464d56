"""Delivers webhooks: claims due rows of the outbox, POSTs them, and records the results.

At least once, with the same id each time: if a worker dies between the answer and its record, the delivery's lease
expires and the next claim sends it again.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from queue import SimpleQueue

from generation_worker.domain.webhook import Judgement, Reply, judge
from generation_worker.events import Events
from generation_worker.ports import Delivery, Poster, Recorded, Store, StoreUnavailable
from generation_worker.worker.lease import Clock
from generation_worker.worker.loop import Loop

SENDERS = 8
PER_ENDPOINT = 4
FAILING = 4
"""Threads for all endpoints together whose last delivery failed. The same number is left for the other endpoints."""
SPARE = 15.0
"""Seconds of a delivery's lease beyond the longest try, for a database that records slowly."""
REST = 5.0
"""Seconds between two checks: the longest delay of a message about a job that another process has ended."""
BATCHES = 100
STEP = 0.01


class Courier:
    """Makes no query while no endpoint is subscribed to an event."""

    def __init__(
        self,
        store: Store,
        poster: Poster,
        events: Events,
        *,
        senders: int = SENDERS,
        rest: float = REST,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._poster = poster
        self._events = events
        self._rest = rest
        self._clock = clock
        self._lease = poster.longest + SPARE
        self._senders = Senders(senders, self._send, finished=self._sender_is_idle, failed=self._emit_broke)
        self._subscribed: frozenset[str] = frozenset()
        self._checks = 0
        self._last_idle_check = 0
        self.loop = Loop("courier", self.step, events)

    def follow(self, subscribed: Collection[str]) -> None:
        """Change the set of events that endpoints are subscribed to."""
        self._subscribed = frozenset(subscribed)
        self.check_now()

    def check_now(self) -> None:
        """There may be a due delivery."""
        if self._subscribed:
            self.loop.wake()

    def step(self) -> float | None:
        """Claim due deliveries and hand them to senders. Returns the seconds until the next check."""
        if not self._subscribed:
            return None
        self._checks += 1
        check, busy = self._checks, self._senders.busy
        if "batch.finished" in self._subscribed:
            self._store.finish_batches(limit=BATCHES)
        claimed = self._claim()
        for delivery in claimed:
            self._senders.submit(delivery)
        if not claimed and not busy:
            self._last_idle_check = check
        return 0 if claimed and self._senders.idle else self._rest

    def finish(self, *, within: float) -> None:
        """Return when no delivery is due and none is being sent, or after ``within`` seconds."""
        until, check = self._clock() + within, self._checks
        self.check_now()
        while self._subscribed and self._last_idle_check <= check and self._clock() < until:
            time.sleep(STEP)

    @property
    def longest(self) -> float:
        """Seconds after which any try has ended and is recorded."""
        return self._lease

    def _claim(self) -> list[Delivery]:
        slots = self._senders.idle
        if not slots:
            return []
        return self._store.claim_deliveries(
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
            recorded = self._store.record_delivery(delivery, reply, judgement)
        except StoreUnavailable as error:
            self._events.emit("delivery.unrecorded", **delivery.tags, error=str(error))
            return
        self._emit_ended(delivery, reply, judgement, recorded, seconds)

    def _post(self, delivery: Delivery) -> Reply:
        """A fault of the worker counts as a try too: otherwise the delivery would be tried for ever."""
        try:
            return self._poster.post(delivery)
        except Exception as error:  # noqa: BLE001
            self._emit_broke(delivery, error)
            return Reply(None, f"it could not be sent: {type(error).__name__}")

    def _emit_ended(
        self, delivery: Delivery, reply: Reply, judgement: Judgement, recorded: Recorded, seconds: float
    ) -> None:
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

    def _emit_broke(self, delivery: Delivery, error: BaseException) -> None:
        self._events.emit("delivery.broke", **delivery.tags, exc_info=error)

    def _sender_is_idle(self) -> None:
        """The thread's endpoint may have had no slot for its other due deliveries."""
        self.loop.wake()


class Senders:
    """Up to ``number`` daemon threads that send deliveries. They start on demand, and delay no end of the process."""

    def __init__(
        self,
        number: int,
        send: Callable[[Delivery], None],
        *,
        finished: Callable[[], None],
        failed: Callable[[Delivery, BaseException], None],
    ) -> None:
        """``failed`` gets exceptions that escape from ``send``; ``finished`` is called when a thread is idle again."""
        self._number = number
        self._send = send
        self._finished = finished
        self._failed = failed
        self._queue: SimpleQueue[Delivery] = SimpleQueue()
        self._lock = threading.Lock()
        self._sending: list[Delivery] = []
        self._threads = 0

    def submit(self, delivery: Delivery) -> None:
        """Send it. The caller submits no more deliveries than threads are idle."""
        with self._lock:
            self._sending.append(delivery)
            missing = self._threads < len(self._sending)
            number = self._threads = self._threads + missing
        if missing:
            threading.Thread(target=self._run, name=f"sender-{number}", daemon=True).start()
        self._queue.put(delivery)

    @property
    def idle(self) -> int:
        with self._lock:
            return self._number - len(self._sending)

    @property
    def busy(self) -> int:
        with self._lock:
            return len(self._sending)

    def by_endpoint(self) -> dict[str, int]:
        """The number of busy threads of each endpoint that has one."""
        with self._lock:
            return dict(Counter(delivery.endpoint for delivery in self._sending))

    def at_failing(self) -> int:
        """The number of threads at endpoints whose last delivery failed."""
        with self._lock:
            return sum(delivery.failing for delivery in self._sending)

    def _run(self) -> None:
        while True:
            delivery = self._queue.get()
            try:
                self._send(delivery)
            except BaseException as error:  # noqa: BLE001 - a thread that ended here would be missing for ever
                self._failed(delivery, error)
            with self._lock:
                self._sending.remove(delivery)
            self._finished()
