"""Jobs that somebody watches: what they look like when a stream begins, and what has changed since the last look."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from generation_worker.db.query import Desk, Row

# What is seen of jobs that somebody watches, and from where on it is looked at again without a loss.


class Since(NamedTuple):
    """A look at the database, as a place to go on from.

    What transactions before ``horizon`` have written could be seen; what any other has written perhaps not yet.
    A time alone would not do: a row bears the time at which it was written, and may be committed long after that.
    """

    horizon: int
    """The number of the oldest transaction that was under way."""
    at: datetime

    def earlier(self, other: Since | None) -> Since:
        return self if other is None else Since(min(self.horizon, other.horizon), min(self.at, other.at))


class Reading(NamedTuple):
    """What one look has found."""

    since: Since
    rows: Mapping[UUID, Row]
    """Jobs that may have changed. ``place`` is how many go before a pending one, where that was looked at."""
    gone: frozenset[UUID] = frozenset()
    """Jobs that are not there any more."""


class Opening(NamedTuple):
    """The jobs of a stream that begins."""

    since: Since
    rows: Mapping[UUID, Row]
    news: frozenset[UUID]
    """Those that have to be told of: all, or those that may have changed since the stream was cut."""


MOST_OF_USER = 200
"""Waiting jobs of one user, in each state, that a stream begins with; the others are told of when their turn comes."""
MOST_OF_BATCH = 1_000
HEAD = 1_000
"""How far from the head of a lane a place in line is known."""
LATEST = 1_000
"""Jobs of a user that are looked through for those that ended while a stream was cut."""
LOOKED_AT = 5_000
"""Rows that each other part of a look reads, at most."""


class StreamDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def open_job(self, job_id: UUID, user: str | None, horizon: int | None) -> Opening:
        """One job, if it belongs to ``user``; None is everybody. ``horizon``: where a stream that was cut has ended."""
        return self._open(job=job_id, user=user, horizon=horizon)

    def open_batch(self, batch_id: UUID, user: str | None, horizon: int | None) -> Opening:
        """A batch, in the order of its jobs."""
        return self._open(batch=batch_id, user=user, horizon=horizon)

    def open_user(self, user: str, horizon: int | None) -> Opening:
        """Jobs of ``user`` that wait or run, and those that have ended since ``horizon``."""
        return self._open(whose=user, user=user, horizon=horizon)

    def look(self, jobs: Collection[UUID], users: Collection[str], lanes: Collection[str], since: Since) -> Reading:
        """What may have changed of these jobs and users. In these lanes, places in line are looked at too."""
        rows = self._ask(
            "watched_jobs",
            jobs=list(jobs),
            users=list(users),
            lanes=list(lanes),
            horizon=since.horizon,
            seen_at=since.at,
            of_user=MOST_OF_USER,
            head=HEAD,
            cap=LOOKED_AT,
        )
        return Reading(
            _since(rows),
            {row["id"]: row for row in rows if row["id"] is not None},
            frozenset(row["asked"] for row in rows if row["id"] is None and row["asked"] is not None),
        )

    def gone_callers(self, names: Sequence[str]) -> set[str]:
        """Which callers of these names would not be let in any more."""
        return {row["name"] for row in self._ask("gone_callers", names=list(names))}

    def _open(self, **asked: Any) -> Opening:
        nothing = dict.fromkeys(("job", "batch", "whose"))
        caps = {"of_user": MOST_OF_USER, "of_batch": MOST_OF_BATCH, "latest": LATEST, "cap": LOOKED_AT}
        rows = self._ask("open_watch", **{**nothing, **caps, **asked})
        found = {row["id"]: row for row in rows if row["id"] is not None}
        return Opening(_since(rows), found, frozenset(job for job, row in found.items() if row["is_news"]))


def _since(rows: Sequence[Row]) -> Since:
    return Since(rows[0]["horizon"], rows[0]["seen_at"])
