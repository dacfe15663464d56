"""What people and keys do to jobs. Each change stands in the audit trail, in its own transaction.

An app that cancels or replays for its own users does so through ``enqueue``, in its transaction and without a record.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from generation_worker.db import enqueue
from generation_worker.db.enqueue import Cancellation, EnqueuedJob
from generation_worker.db.history import Author, record, together

Connection = psycopg.Connection[Any]

STATE = "SELECT status, cancel_requested_at IS NOT NULL FROM generation_job WHERE id = %s FOR NO KEY UPDATE"


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


def _state(connection: Connection, job_id: UUID | str) -> dict[str, Any] | None:
    with connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(STATE, [str(job_id)]).fetchone()
    return dict(zip(Cancellation._fields, found, strict=True)) if found else None
