"""All streams of this process, and their one reader: the database is asked the same however many clients listen.

The reader begins with the first stream and ends with the last one, so that a serverless database may sleep while nobody
listens. It looks about once a second, and sooner when this process itself has claimed or settled a job.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

import anyio

from generation_worker.db.streams import Opening, Reading, Row, Since
from generation_worker.domain.job import FINAL
from generation_worker.events import Events
from generation_worker.web.problems import too_early
from generation_worker.worker.loop import Loop

# What one stream has told its client, and what it has yet to tell: never more than the latest of each job.


MOST_JOBS = 1_000
"""Jobs of one user that a stream follows at once."""
MOST_ENDED = 2_000
"""Ended jobs of one user that are remembered, so that none is told of twice."""
SHOWN = (
    *("status", "provider", "attempt", "max_attempts", "priority", "run_at", "cancel_requested", "debited"),
    *("error_code", "error_message", "started_at", "finished_at"),
)
"""What may change of a job, and is told when it does. A lease that is renewed is not."""

End = Literal["done", "gone"]


class News(NamedTuple):
    """What a client is told next."""

    rows: list[Row]
    horizon: int
    """A stream that goes on from here misses nothing."""
    end: End | None
    """done: all jobs have ended; gone: the last one was deleted."""


class Watch:
    """One stream. The reader's thread brings what it has read, the server's takes what is to be told."""

    def __init__(self, caller: str, opening: Opening, *, user: str | None = None, places: bool = False) -> None:
        """``user``: every job of theirs, for ever; None: the jobs of ``opening`` until they have ended.

        ``places``: a new place in line is worth telling.
        """
        self.caller = caller
        self.user = user
        self.since = opening.since
        self.closed = False
        self._places = places
        self._lock = threading.Lock()
        self._bell = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._horizon = opening.since.horizon
        self._told: dict[UUID, tuple[Any, ...]] = {}
        self._ended: dict[UUID, None] = {}
        self._news: dict[UUID, Row] = {}
        self._latest: Row | None = None
        self._gone = False
        for job, row in opening.rows.items():
            self._note(job, row)
            if job not in opening.news:
                self._news.pop(job, None)

    @property
    def following(self) -> int:
        """How many jobs it follows."""
        return len(self._told)

    @property
    def jobs(self) -> tuple[UUID, ...]:
        """Those that have not ended."""
        with self._lock:
            return tuple(self._told)

    @property
    def lane(self) -> str | None:
        """Where a place in line is to be looked at."""
        row = self._latest if self._places else None
        return row["provider"] if row is not None and row["status"] == "pending" else None

    @property
    def over(self) -> bool:
        """Nothing will ever happen to it: the database need not be asked."""
        return self._end is not None

    def take(self, reading: Reading) -> None:
        """Note what concerns this stream. For the reader's thread."""
        with self._lock:
            self._horizon = reading.since.horizon
            for job in self._concerned(reading):
                self._note(job, reading.rows[job])
            for job in reading.gone & self._told.keys():
                del self._told[job]
                self._gone = True
            ring = bool(self._news) or self._end is not None
        if ring:
            self._ring()

    def news(self) -> News | None:
        """What has to be told now; None if there is nothing."""
        with self._lock:
            self._bell.clear()
            rows, self._news = list(self._news.values()), {}
            return News(rows, self._horizon, self._end) if rows or self._end else None

    async def wait(self, seconds: float) -> bool:
        """Until there is something to tell or it is over; whether that was within ``seconds``."""
        with anyio.move_on_after(seconds):
            await self._bell.wait()
            return True
        return False

    def close(self) -> None:
        """Tell nothing more. From any thread."""
        self.closed = True
        self._ring()

    @property
    def _end(self) -> End | None:
        if self.user is not None or self._told:
            return None
        return "gone" if self._gone else "done"

    def _concerned(self, reading: Reading) -> list[UUID]:
        if self.user is None:
            return list(reading.rows.keys() & self._told.keys())
        return [job for job, row in reading.rows.items() if row["user_id"] == self.user and job not in self._ended]

    def _note(self, job: UUID, row: Row) -> None:
        if self._places:
            row = self._latest = self._with_place(row)
        shown = (*(row[name] for name in SHOWN), row.get("place"))
        if self._told.get(job) == shown or (job not in self._told and len(self._told) >= MOST_JOBS):
            return
        self._news[job] = row
        if row["status"] in FINAL:
            self._told.pop(job, None)
            self._remember_end(job)
        else:
            self._told[job] = shown

    def _with_place(self, row: Row) -> Row:
        """Most looks bring no place; until there is another the last one stands."""
        if row["status"] != "pending":
            return {**row, "place": None}
        before = self._latest["place"] if self._latest is not None else None
        return {**row, "place": before if row.get("place") is None else row["place"]}

    def _remember_end(self, job: UUID) -> None:
        if self.user is None:
            return
        self._ended[job] = None
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._bell.set)
        except RuntimeError:
            return  # the server has ended, and with it whoever would hear


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
