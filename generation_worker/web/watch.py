"""What one stream has told its client, and what it has yet to tell: never more than the latest of each job."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal, NamedTuple
from uuid import UUID

import anyio

from generation_worker.domain.job import FINAL
from generation_worker.domain.watch import Opening, Reading, Row

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
