"""What people and keys do to jobs. Each change stands in the audit trail, in its own transaction.

An app that cancels or replays for its own users does so through ``enqueue``, in its transaction and without a record.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row

from generation_worker.db import enqueue
from generation_worker.db.enqueue import Cancellation, EnqueuedJob
from generation_worker.db.history import Author, record, together
from generation_worker.db.wake import wake
from generation_worker.domain.refusals import EnqueueRefused, JobNotFound, JobNotReleasable, JobNotWaiting

Connection = psycopg.Connection[Any]

# Before whoever is first now. Its lane may hold a job of an urgent priority, and it is to overtake that too.
RUN_NEXT = """
WITH job AS MATERIALIZED (
  SELECT id, provider, priority, position, status FROM generation_job
   WHERE id = %(id)s AND status IN ('pending', 'scheduled', 'rate_limited') FOR NO KEY UPDATE
), front AS (
  SELECT j.priority, j.position FROM job JOIN generation_job j ON j.provider = job.provider
   WHERE j.status = 'pending' AND NOT j.held AND j.id <> job.id AND isfinite(j.position)
   ORDER BY j.priority, j.position, j.id LIMIT 1
), place AS (
  SELECT job.*, coalesce((front.priority, front.position) <= (job.priority, job.position), false) AS behind,
         front.priority AS front_priority, front.position AS front_position
    FROM job LEFT JOIN front ON true
)
UPDATE generation_job j
   SET status = 'pending', run_at = least(j.run_at, clock_timestamp()),
       priority = CASE WHEN behind THEN front_priority ELSE j.priority END,
       position = CASE WHEN behind THEN front_position - interval '1 microsecond' ELSE j.position END
  FROM place WHERE j.id = place.id
RETURNING j.status, j.priority, j.position,
          place.status AS old_status, place.priority AS old_priority, place.position AS old_position
"""
RELEASE = """
UPDATE generation_job
   SET lease_expires_at = CASE status WHEN 'processing'
                          THEN least(lease_expires_at, clock_timestamp() - interval '1 second') END,
       run_at = CASE status WHEN 'processing' THEN run_at ELSE least(run_at, clock_timestamp()) END
 WHERE id = %(id)s AND status IN ('scheduled', 'rate_limited', 'processing')
RETURNING status, locked_by, run_at, lease_expires_at
"""
STANDS = "SELECT status, locked_by, run_at, lease_expires_at FROM generation_job WHERE id = %s FOR NO KEY UPDATE"
STATE = "SELECT status, cancel_requested_at IS NOT NULL FROM generation_job WHERE id = %s FOR NO KEY UPDATE"


class Released(NamedTuple):
    """The status of a job that was released, and who held it, if it runs."""

    status: str
    held_by: str | None


def cancel_job(connection: Connection, job_id: UUID | str, *, by: Author) -> Cancellation:
    """As ``enqueue.cancel``; a request that changes nothing is not recorded. Raises JobNotFound."""
    with together(connection):
        before = _state(connection, job_id)
        cancelled = enqueue.cancel(connection, job_id)
        if before != cancelled._asdict():
            record(connection, by, "job.cancel", f"job:{job_id}", before=before, after=cancelled._asdict())
    return cancelled


def replay_job(connection: Connection, job_id: UUID | str, *, by: Author) -> EnqueuedJob:
    """As ``enqueue.replay``; what was replayed before is not recorded again. Raises what that raises."""
    with together(connection):
        before = _state(connection, job_id)
        new = enqueue.replay(connection, job_id)
        if not new.duplicate:
            record(connection, by, "job.replay", f"job:{job_id}", before=before, after={"replayed_as": new.id})
    return new


def run_next(connection: Connection, job_id: UUID | str, *, by: Author) -> dict[str, Any]:
    """Put a waiting job at the front of its lane, whatever it waits for; its status and place now.

    A closed gate, an empty account or a pause may still keep it. Raises JobNotFound, and JobNotWaiting if it runs or
    has ended.
    """
    with together(connection):
        before = _state(connection, job_id)
        with connection.cursor(row_factory=dict_row) as cursor:
            after = cursor.execute(RUN_NEXT, {"id": str(job_id)}).fetchone()
        if after is None:
            _refuse(before, job_id, JobNotWaiting, "runs, or has ended")
        old = {name.removeprefix("old_"): after.pop(name) for name in list(after) if name.startswith("old_")}
        record(connection, by, "job.run_next", f"job:{job_id}", before=old, after=after)
        wake(connection)
    return after


def release_job(connection: Connection, job_id: UUID | str, *, by: Author) -> Released:
    """Make a job due now that waits for its time, or take one from the worker that holds it.

    The latter is for a worker that is stuck and says that it lives: its lease runs out, so that a living worker takes
    the job over within seconds. What it does is not stopped, but it can write nothing more. Raises JobNotFound, and
    JobNotReleasable if the job waits for nothing, or has ended.
    """
    with together(connection), connection.cursor(row_factory=dict_row) as cursor:
        before = cursor.execute(STANDS, [str(job_id)]).fetchone()
        after = cursor.execute(RELEASE, {"id": str(job_id)}).fetchone()
        if after is None:
            _refuse(before, job_id, JobNotReleasable, "neither waits for its time nor is held by a worker")
        record(connection, by, "job.release", f"job:{job_id}", before=before, after=after)
        wake(connection)
    return Released(after["status"], after["locked_by"])


def _refuse(state: dict[str, Any] | None, job_id: UUID | str, error: type[EnqueueRefused], why: str) -> NoReturn:
    if state is None:
        raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
    raise error(f"job {job_id} is {state['status']}: it {why}")


def _state(connection: Connection, job_id: UUID | str) -> dict[str, Any] | None:
    with connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(STATE, [str(job_id)]).fetchone()
    return dict(zip(Cancellation._fields, found, strict=True)) if found else None
