"""Reads watched jobs for streams: their state when a stream begins, and what has changed since the last read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from generation_worker.db.query import Queries, Row

MOST_OF_USER = 200
"""Waiting jobs of one user, in each state, that a stream begins with; it reports the others when their turn comes."""
MOST_OF_BATCH = 1_000
HEAD = 1_000
"""How many jobs from the head of a lane have a known queue position."""
LATEST = 1_000
"""Latest jobs of a user that are searched for those that ended while a stream was interrupted."""
SCAN_LIMIT = 5_000
"""Most rows that each other part of a read scans."""


class ReadPoint(NamedTuple):
    """The point of a read, from which the next read continues without a loss.

    The read has seen everything that transactions before ``horizon`` have written, and perhaps not what others have
    written. A time alone would not do: a row has the time at which it was written, and may be committed long after.
    """

    horizon: int
    """The number of the oldest transaction that was running."""
    at: datetime

    def earlier(self, other: ReadPoint | None) -> ReadPoint:
        """The point from which a read misses nothing after either of the two."""
        return self if other is None else ReadPoint(min(self.horizon, other.horizon), min(self.at, other.at))


class StreamStart(NamedTuple):
    """The jobs of a stream that begins."""

    read_point: ReadPoint
    jobs: Mapping[UUID, Row]
    changed: frozenset[UUID]
    """The jobs to report: all, or those that may have changed since an interrupted stream ended."""


class JobChanges(NamedTuple):
    """The result of one read."""

    read_point: ReadPoint
    jobs: Mapping[UUID, Row]
    """Jobs that may have changed. ``queue_position`` is set for pending jobs of the lanes that were read."""
    deleted: frozenset[UUID] = frozenset()


def start_job_stream(queries: Queries, job_id: UUID, user: str | None, horizon: int | None) -> StreamStart:
    """One job, if it belongs to ``user`` (None: any user). ``horizon``: where an interrupted stream ended."""
    return _start(queries, job=job_id, user=user, horizon=horizon)


def start_batch_stream(queries: Queries, batch_id: UUID, user: str | None, horizon: int | None) -> StreamStart:
    """The jobs of a batch, in their order."""
    return _start(queries, batch=batch_id, user=user, horizon=horizon)


def start_user_stream(queries: Queries, user: str, horizon: int | None) -> StreamStart:
    """The jobs of ``user`` that wait or run, and those that have ended since ``horizon``."""
    return _start(queries, whose=user, user=user, horizon=horizon)


def read_changes(
    queries: Queries, jobs: Collection[UUID], users: Collection[str], lanes: Collection[str], since: ReadPoint
) -> JobChanges:
    """These jobs and the jobs of these users that may have changed; with queue positions in these lanes."""
    rows = queries.rows(
        "read_changes",
        jobs=list(jobs),
        users=list(users),
        lanes=list(lanes),
        horizon=since.horizon,
        read_at=since.at,
        of_user=MOST_OF_USER,
        head=HEAD,
        cap=SCAN_LIMIT,
    )
    return JobChanges(
        _read_point(rows),
        {row["id"]: row for row in rows if row["id"] is not None},
        frozenset(row["watched"] for row in rows if row["id"] is None and row["watched"] is not None),
    )


def gone_callers(queries: Queries, names: Sequence[str]) -> set[str]:
    """Which callers of these names are not admitted any more."""
    return {row["name"] for row in queries.rows("gone_callers", names=list(names))}


def _start(queries: Queries, **which: Any) -> StreamStart:
    values = dict.fromkeys(("job", "batch", "whose"))
    caps = {"of_user": MOST_OF_USER, "of_batch": MOST_OF_BATCH, "latest": LATEST, "cap": SCAN_LIMIT}
    rows = queries.rows("start_stream", **{**values, **caps, **which})
    jobs = {row["id"]: row for row in rows if row["id"] is not None}
    return StreamStart(_read_point(rows), jobs, frozenset(job for job, row in jobs.items() if row["is_changed"]))


def _read_point(rows: Sequence[Row]) -> ReadPoint:
    return ReadPoint(rows[0]["horizon"], rows[0]["read_at"])
