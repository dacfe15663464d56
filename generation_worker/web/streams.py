"""All streams of this process, and their one reader: the database is asked the same however many clients listen.

The reader begins with the first stream and ends with the last one, so that a serverless database may sleep while nobody
listens. It looks about once a second, and sooner when this process itself has claimed or settled a job.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from generation_worker.domain.watch import Reading, Since
from generation_worker.events import Events
from generation_worker.web.problems import too_early
from generation_worker.web.watch import Watch
from generation_worker.worker.loop import Loop

LOOK_EVERY = 1.0
LOOK_AT_MOST_EVERY = 0.2
PLACES_EVERY = 5.0
"""Seconds between two looks at places in line."""
LONGEST_PAUSE = 2.0
"""Seconds between tries while the database does not answer."""
MOST_WATCHED = 20_000
"""Jobs that all streams together follow when a further one is let in."""
HINTS = {
    *("attempt.started", "attempt.settled", "lease.reclaimed"),
    *("jobs.promoted", "jobs.held", "job.refused", "job.expired"),
}
"""What happens in this process and is worth a look."""

Full = Literal["stopping", "streams", "jobs", "key"]
"""Why a stream is not opened: the process ends, has enough of them, follows enough jobs, or the key has its share."""


class Watched(Protocol):
    """Where jobs are. Each method may raise StoreUnavailable."""

    def look(self, jobs: Collection[UUID], users: Collection[str], lanes: Collection[str], since: Since) -> Reading: ...

    def gone_callers(self, names: Sequence[str]) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams this process keeps open, and of these for one key."""

    streams: int
    of_key: int


class Streams:
    """Safe to use from many threads at once."""

    def __init__(self, jobs: Watched, events: Events, limits: StreamLimits) -> None:
        self._jobs = jobs
        self._events = events
        self._limits = limits
        self._lock = threading.Lock()
        self._open: dict[Watch, None] = {}
        self._closed = False
        self._loop: Loop | None = None
        self._since: Since | None = None
        """From where on the next look is to see what has changed, for each of the streams."""
        self._look_at = self._callers_at = self._places_at = 0.0
        """By the monotonic clock: not before these times."""

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self, caller: str) -> None:
        """Raises Problem (429, 503) if there are too many streams already."""
        with self._lock:
            full = self._full(caller)
        self._refuse_if(full)

    def add(self, watch: Watch) -> None:
        """Begin to bring ``watch`` what happens. Raises Problem (429, 503) if there are too many already."""
        with self._lock:
            full = self._full(watch.caller)
            if full is None:
                self._begin(watch)
        self._refuse_if(full)

    def remove(self, watch: Watch) -> None:
        """Forget it; without streams nothing is read."""
        with self._lock:
            self._open.pop(watch, None)
            if not self._open and self._loop is not None:
                self._loop.stop()
                self._loop = self._since = None

    def close(self) -> None:
        """End all streams and begin no further one. Returns at once."""
        with self._lock:
            self._closed = True
            present = list(self._open)
        for watch in present:
            watch.close()

    def hear(self, event: str, _fields: dict[str, Any]) -> None:
        """A listener of the process's events: look sooner when there may be something to see."""
        loop = self._loop
        if event in HINTS and loop is not None:
            loop.wake()

    def _begin(self, watch: Watch) -> None:
        self._open[watch] = None
        self._since = watch.since.earlier(self._since)
        if self._loop is None:
            self._loop = Loop("streams", self._step, self._events, longest_pause=LONGEST_PAUSE)
            self._loop.start()

    def _full(self, caller: str) -> Full | None:
        if self._closed:
            return "stopping"
        if len(self._open) >= self._limits.streams:
            return "streams"
        if self._watched() >= MOST_WATCHED:
            return "jobs"
        if Counter(watch.caller for watch in self._open)[caller] >= self._limits.of_key:
            return "key"
        return None

    def _refuse_if(self, full: Full | None) -> None:
        if full is None:
            return
        if full != "stopping":
            self._events.emit("stream.refused", limit=full)
        if full == "key":
            raise too_early(
                "too_many_streams",
                f"The key has {self._limits.of_key} streams open already.",
                status=429,
                seconds=10,
                remedy="Close some, or follow a whole batch or user in one stream.",
            )
        raise too_early(
            "too_many_streams",
            "This server has as many streams open as it can.",
            status=503,
            seconds=5,
            remedy="Come again, or ask for the job's status meanwhile.",
        )

    def _watched(self) -> int:
        return sum(watch.following for watch in self._open)

    def _step(self) -> float | None:
        """One look. Streams that begin meanwhile have seen later rows than it finds: they wait for the next one."""
        time.sleep(max(0.0, self._look_at - time.monotonic()))
        with self._lock:
            present, since, self._since = tuple(self._open), self._since, None
        if since is None:
            return LOOK_EVERY
        try:
            self._end_streams_of_gone_callers(present)
            reading = self._look(present, since)
        except BaseException:
            self._go_on_from(since)
            raise
        finally:
            self._look_at = time.monotonic() + LOOK_AT_MOST_EVERY
        self._go_on_from(reading.since)
        for watch in present:
            watch.take(reading)
        return LOOK_EVERY

    def _look(self, present: Sequence[Watch], since: Since) -> Reading:
        jobs = {job for watch in present for job in watch.jobs}
        users = {watch.user for watch in present if watch.user is not None}
        return self._jobs.look(jobs, users, self._lanes(present), since)

    def _lanes(self, present: Sequence[Watch]) -> set[str]:
        """Those whose places are due to be looked at."""
        if time.monotonic() < self._places_at:
            return set()
        self._places_at = time.monotonic() + PLACES_EVERY
        return {lane for watch in present if (lane := watch.lane) is not None}

    def _end_streams_of_gone_callers(self, present: Sequence[Watch]) -> None:
        if time.monotonic() < self._callers_at:
            return
        gone = self._jobs.gone_callers(sorted({watch.caller for watch in present}))
        self._callers_at = time.monotonic() + LOOK_EVERY / 2
        for watch in present:
            if watch.caller in gone:
                watch.close()

    def _go_on_from(self, since: Since) -> None:
        with self._lock:
            if self._open:
                self._since = since.earlier(self._since)
