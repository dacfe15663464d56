"""All streams of this process, and the one thread that reads the database for them, however many clients listen.

The thread starts with the first stream and ends with the last one, so that a serverless database may sleep while nobody
listens. It reads about once a second, and sooner when this process itself has claimed or settled a job.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import anyio

from generation_worker.db.query import Queries, Row
from generation_worker.db.streams import JobChanges, ReadPoint, StreamStart, gone_callers, read_changes
from generation_worker.domain.job import FINAL
from generation_worker.events import Events
from generation_worker.web.problems import too_early
from generation_worker.worker.loop import Loop

MOST_JOBS = 1_000
"""Jobs of one user that a stream follows at once."""
MOST_ENDED = 2_000
"""Ended jobs of one user that a stream remembers, so that it reports none of them twice."""
REPORTED = (
    *("status", "provider", "attempt", "max_attempts", "priority", "run_at", "cancel_requested", "debited"),
    *("error_code", "error_message", "started_at", "finished_at"),
)
"""Columns whose changes are reported. A renewed lease is not."""

READ_INTERVAL = 1.0
SHORTEST_READ_INTERVAL = 0.2
POSITIONS_INTERVAL = 5.0
"""Seconds between two reads of queue positions."""
LONGEST_PAUSE = 2.0
"""Seconds between tries while the database does not answer."""
MOST_FOLLOWED = 20_000
"""Jobs that all streams together may follow when another one is opened."""
HINTS = {
    *("attempt.started", "attempt.settled", "lease.reclaimed"),
    *("jobs.promoted", "jobs.held", "job.refused", "job.expired"),
}
"""Events of this process after which it reads at once."""

End = Literal["done", "gone"]
Full = Literal["stopping", "streams", "jobs", "key"]
"""Why no stream is opened: the process stops, has enough streams, follows enough jobs, or the key has its share."""


class StreamUpdate(NamedTuple):
    """What the client receives next."""

    rows: list[Row]
    horizon: int
    """A stream that continues from here misses nothing."""
    end: End | None
    """done: all jobs have ended; gone: the last one was deleted."""


class Stream:
    """One client's stream. Holds changes until they are sent: never more than the latest state of each job.

    The reader's thread calls ``take``, the server's thread everything else.
    """

    def __init__(self, caller: str, start: StreamStart, *, user: str | None = None, positions: bool = False) -> None:
        """``user``: follows every job of this user, without an end; None: the jobs of ``start`` until they have ended.

        ``positions``: reports a new queue position too.
        """
        self.caller = caller
        self.user = user
        self.read_point = start.read_point
        self.closed = False
        self._positions = positions
        self._lock = threading.Lock()
        self._wakeup = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._horizon = start.read_point.horizon
        self._reported: dict[UUID, tuple[Any, ...]] = {}
        """The jobs that have not ended, with the values that were reported last."""
        self._ended: dict[UUID, None] = {}
        self._unsent: dict[UUID, Row] = {}
        self._latest: Row | None = None
        self._deleted = False
        for job, row in start.jobs.items():
            self._add(job, row)
            if job not in start.changed:
                self._unsent.pop(job, None)

    @property
    def following(self) -> int:
        """The number of jobs that it follows."""
        return len(self._reported)

    @property
    def jobs(self) -> tuple[UUID, ...]:
        """The jobs that it follows: they have not ended."""
        with self._lock:
            return tuple(self._reported)

    @property
    def lane(self) -> str | None:
        """The lane whose queue positions it needs."""
        row = self._latest if self._positions else None
        return row["provider"] if row is not None and row["status"] == "pending" else None

    @property
    def over(self) -> bool:
        """Nothing will change any more, so the database need not be read for it."""
        return self._end is not None

    def take(self, changes: JobChanges) -> None:
        """Keep the changes that concern this stream."""
        with self._lock:
            self._horizon = changes.read_point.horizon
            for job in self._concerned(changes):
                self._add(job, changes.jobs[job])
            for job in changes.deleted & self._reported.keys():
                del self._reported[job]
                self._deleted = True
            ready = bool(self._unsent) or self._end is not None
        if ready:
            self._wake()

    def next_update(self) -> StreamUpdate | None:
        """Everything that has not been sent; None if there is nothing."""
        with self._lock:
            self._wakeup.clear()
            rows, self._unsent = list(self._unsent.values()), {}
            return StreamUpdate(rows, self._horizon, self._end) if rows or self._end else None

    async def wait(self, seconds: float) -> bool:
        """Wait until there is an update or the stream is closed; False if that takes longer than ``seconds``."""
        with anyio.move_on_after(seconds):
            await self._wakeup.wait()
            return True
        return False

    def close(self) -> None:
        """Send nothing more. May be called from any thread."""
        self.closed = True
        self._wake()

    @property
    def _end(self) -> End | None:
        if self.user is not None or self._reported:
            return None
        return "gone" if self._deleted else "done"

    def _concerned(self, changes: JobChanges) -> list[UUID]:
        if self.user is None:
            return list(changes.jobs.keys() & self._reported.keys())
        return [job for job, row in changes.jobs.items() if row["user_id"] == self.user and job not in self._ended]

    def _add(self, job: UUID, row: Row) -> None:
        if self._positions:
            row = self._latest = self._with_position(row)
        reported = (*(row[name] for name in REPORTED), row.get("queue_position"))
        if self._reported.get(job) == reported or (job not in self._reported and len(self._reported) >= MOST_JOBS):
            return
        self._unsent[job] = row
        if row["status"] in FINAL:
            self._reported.pop(job, None)
            self._remember_end(job)
        else:
            self._reported[job] = reported

    def _with_position(self, row: Row) -> Row:
        """Most reads have no queue positions; the last known one holds until then."""
        if row["status"] != "pending":
            return {**row, "queue_position": None}
        before = self._latest["queue_position"] if self._latest is not None else None
        return {**row, "queue_position": before if row.get("queue_position") is None else row["queue_position"]}

    def _remember_end(self, job: UUID) -> None:
        if self.user is None:
            return
        self._ended[job] = None
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wakeup.set)
        except RuntimeError:
            return  # the server has stopped, and its clients are gone


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams this process keeps open, and how many of them for one key."""

    streams: int
    of_key: int


class Streams:
    """The open streams of this process. Safe to use from many threads at once."""

    def __init__(self, queries: Queries, events: Events, limits: StreamLimits) -> None:
        self._queries = queries
        self._events = events
        self._limits = limits
        self._lock = threading.Lock()
        self._open: dict[Stream, None] = {}
        self._closed = False
        self._loop: Loop | None = None
        self._read_point: ReadPoint | None = None
        """From where the next read must see changes: the earliest point of all streams."""
        self._read_at = self._callers_at = self._positions_at = 0.0
        """By the monotonic clock: not before these times."""

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self, caller: str) -> None:
        """Raises Problem (429, 503) if there are too many streams."""
        with self._lock:
            full = self._full(caller)
        self._refuse_if(full)

    def add(self, stream: Stream) -> None:
        """Open ``stream``: it receives all changes from now on. Raises Problem (429, 503) if there are too many."""
        with self._lock:
            full = self._full(stream.caller)
            if full is None:
                self._begin(stream)
        self._refuse_if(full)

    def remove(self, stream: Stream) -> None:
        """Forget ``stream``; after the last one nothing is read any more."""
        with self._lock:
            self._open.pop(stream, None)
            if not self._open and self._loop is not None:
                self._loop.stop()
                self._loop = self._read_point = None

    def close(self) -> None:
        """End all streams and open no further one. Returns at once."""
        with self._lock:
            self._closed = True
            present = list(self._open)
        for stream in present:
            stream.close()

    def on_event(self, event: str, _fields: dict[str, Any]) -> None:
        """A listener of the process's events: read at once after those that change jobs."""
        loop = self._loop
        if event in HINTS and loop is not None:
            loop.wake()

    def _begin(self, stream: Stream) -> None:
        self._open[stream] = None
        self._read_point = stream.read_point.earlier(self._read_point)
        if self._loop is None:
            self._loop = Loop("streams", self._step, self._events, longest_pause=LONGEST_PAUSE)
            self._loop.start()

    def _full(self, caller: str) -> Full | None:
        if self._closed:
            return "stopping"
        if len(self._open) >= self._limits.streams:
            return "streams"
        if sum(stream.following for stream in self._open) >= MOST_FOLLOWED:
            return "jobs"
        if Counter(stream.caller for stream in self._open)[caller] >= self._limits.of_key:
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
                f"The key has {self._limits.of_key} open streams already.",
                status=429,
                seconds=10,
                remedy="Close some, or follow a whole batch or user in one stream.",
            )
        raise too_early(
            "too_many_streams",
            "This server has as many streams open as it can.",
            status=503,
            seconds=5,
            remedy="Try again later; until then, GET the job's status_url.",
        )

    def _step(self) -> float | None:
        """One read. A stream that is opened meanwhile has seen later rows already, and takes part in the next read."""
        time.sleep(max(0.0, self._read_at - time.monotonic()))
        with self._lock:
            present, since, self._read_point = tuple(self._open), self._read_point, None
        if since is None:
            return READ_INTERVAL
        try:
            self._close_streams_of_gone_callers(present)
            changes = self._read(present, since)
        except BaseException:
            self._continue_from(since)
            raise
        finally:
            self._read_at = time.monotonic() + SHORTEST_READ_INTERVAL
        self._continue_from(changes.read_point)
        for stream in present:
            stream.take(changes)
        return READ_INTERVAL

    def _read(self, present: Sequence[Stream], since: ReadPoint) -> JobChanges:
        jobs = {job for stream in present for job in stream.jobs}
        users = {stream.user for stream in present if stream.user is not None}
        return read_changes(self._queries, jobs, users, self._lanes(present), since)

    def _lanes(self, present: Sequence[Stream]) -> set[str]:
        """The lanes whose queue positions are read this time."""
        if time.monotonic() < self._positions_at:
            return set()
        self._positions_at = time.monotonic() + POSITIONS_INTERVAL
        return {lane for stream in present if (lane := stream.lane) is not None}

    def _close_streams_of_gone_callers(self, present: Sequence[Stream]) -> None:
        if time.monotonic() < self._callers_at:
            return
        gone = gone_callers(self._queries, sorted({stream.caller for stream in present}))
        self._callers_at = time.monotonic() + READ_INTERVAL / 2
        for stream in present:
            if stream.caller in gone:
                stream.close()

    def _continue_from(self, point: ReadPoint) -> None:
        with self._lock:
            if self._open:
                self._read_point = point.earlier(self._read_point)
