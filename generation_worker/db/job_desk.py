"""Jobs and batches, as the HTTP API asks for them. ``user``: of that user only; None: of everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from generation_worker.db.desk import Desk, Row, ask
from generation_worker.db.enqueue import EnqueuedJob, EnqueueRequest, enqueue_many
from generation_worker.db.history import Author
from generation_worker.db.insights import FAR, SAMPLE, Insights
from generation_worker.db.operations import cancel_job, replay_job
from generation_worker.db.running import Connections
from generation_worker.db.statements import load_statements
from generation_worker.domain.estimate import Pace
from generation_worker.domain.job import FINAL, Status
from generation_worker.domain.paging import Mark
from generation_worker.domain.refusals import JobIsFinal, JobNotFound, TooManyWaiting

LOOKED_AT = 5_000
"""Rows that one page of a filtered list looks at, at most."""
LARGEST_BATCH = 1_000
PACE_KEPT = 2.0
"""Seconds for which an estimate may go by the same figures."""

Connection = psycopg.Connection[Any]


class JobDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def __init__(self, connections: Connections, *, private_urls: bool = False) -> None:
        """``private_urls`` is for development: inputs may have URLs that are not on the public internet."""
        super().__init__(connections)
        self._private_urls = private_urls
        self._insights = Insights(connections)
        self._paces: dict[str, tuple[float, Pace]] = {}
        self._lock = threading.Lock()

    def enqueue(self, request: Mapping[str, Any], *, most_waiting: int) -> list[EnqueuedJob]:
        """Raises InvalidPayload and EnqueueRefused: TooManyWaiting, and what ``db.enqueue`` raises."""
        asked = EnqueueRequest(**request)
        with self._connections.connection() as connection, connection.transaction():
            return _bounded(
                connection,
                asked.user_id,
                most_waiting,
                lambda: enqueue_many(connection, [asked], private_urls=self._private_urls),
            )

    def replay(
        self, job_id: UUID, user: str | None, *, most_waiting: int, by: str, reason: str | None = None
    ) -> EnqueuedJob:
        """Raises as ``enqueue`` does, JobNotFound and JobNotReplayable."""
        with self._connections.connection() as connection, connection.transaction():
            owner = _owner(connection, job_id, user)
            [job] = _bounded(
                connection, owner, most_waiting, lambda: [replay_job(connection, job_id, by=Author(by, reason))]
            )
            return job

    def cancel(self, job_id: UUID, user: str | None, *, by: str, reason: str | None = None) -> Status:
        """The job's status now: cancelled, or processing if it was asked to stop. Raises JobNotFound, JobIsFinal."""
        with self._connections.connection() as connection, connection.transaction():
            _owner(connection, job_id, user)
            status = cancel_job(connection, job_id, by=Author(by, reason)).status
        if status in FINAL - {"cancelled"}:
            raise JobIsFinal(f"job {job_id} is {status} already; nothing was changed")
        return status

    def find(self, job_id: UUID, user: str | None) -> Row | None:
        return self._only("find_job", id=job_id, user=user)

    def attempts(self, job_id: UUID) -> list[Row]:
        """How the attempts ended, in their order."""
        return self._rows("job_attempts", job_id)

    def entries(self, job_id: UUID) -> list[Row]:
        """What the job moved in its user's account."""
        return self._rows("job_entries", job_id)

    def queue_position(self, job_id: UUID) -> int | None:
        """How many jobs go before it, at most ``farthest``; None if it is not pending."""
        return self._insights.queue_position(job_id, cap=FAR)

    @property
    def farthest(self) -> int:
        return FAR

    def pace(self, provider: str) -> Pace:
        """What the provider's lane has been doing lately."""
        now = time.monotonic()
        known = self._paces.get(provider)
        if known is not None and now < known[0]:
            return known[1]
        row = self._only("lane_pace", provider=provider, cap=min(SAMPLE, 2_000))
        assert row is not None
        with self._lock:
            self._paces[provider] = (now + PACE_KEPT, Pace(**row))
            return self._paces[provider][1]

    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[list[Row], Mark | None]:
        """The latest jobs before a mark, and where the next page begins (None: there is none).

        A page may have fewer than ``limit`` jobs, even none, and not be the last: what is looked at is bounded.
        """
        filtered = statuses is not None or kind is not None
        cap = LOOKED_AT if filtered else limit + 1
        found = self._ask(
            "list_jobs" if user is None else "list_jobs_of_user",
            user=user,
            before_time=before.at,
            before_id=before.id,
            statuses=None if statuses is None else list(statuses),
            kind=kind,
            cap=cap,
            limit=limit + 1,
        )
        jobs = [row for row in found if row["id"] is not None]
        if len(jobs) > limit:
            return jobs[:limit], Mark(jobs[limit - 1]["created_at"], jobs[limit - 1]["id"])
        if found and found[0]["looked"] >= cap:
            return jobs, Mark(found[0]["reached_at"], found[0]["reached"])
        return jobs, None

    def named(self, job_ids: Sequence[UUID]) -> list[Row]:
        """Those of these jobs that there are, the latest first."""
        return self._ask("named_jobs", ids=list(job_ids))

    def batch(self, batch_id: UUID, user: str | None) -> list[Row]:
        """Its jobs, in their order, at most LARGEST_BATCH."""
        return self._ask("batch_jobs", id=batch_id, user=user, limit=LARGEST_BATCH)

    def owned(self, job_ids: Sequence[UUID], user: str) -> set[UUID]:
        """Which of these jobs belong to ``user``."""
        return {row["id"] for row in self._ask("owned_jobs", ids=list(job_ids), user=user)}

    def _rows(self, question: str, job_id: UUID) -> list[Row]:
        with self._connections.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load_statements("questions")[question], {"id": job_id}).fetchall()


def _bounded(
    connection: Connection, user: str, most_waiting: int, enqueue: Callable[[], list[EnqueuedJob]]
) -> list[EnqueuedJob]:
    """What is enqueued for ``user``, unless they then have too many jobs waiting. Duplicates were counted before."""
    ask(connection, "take_turn", user=user)
    made = enqueue()
    if not all(job.duplicate for job in made):
        [row] = ask(connection, "count_waiting", user=user, cap=most_waiting + 1)
        if row["waiting"] > most_waiting:
            raise TooManyWaiting(
                f"user {user} would have more than {most_waiting} jobs waiting", "Wait until some of them are done."
            )
    return made


def _owner(connection: Connection, job_id: UUID, user: str | None) -> str:
    """Raises JobNotFound if there is no such job for ``user``."""
    rows = ask(connection, "owned_jobs", ids=[job_id], user=user)
    if not rows:
        raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
    return rows[0]["user_id"]
