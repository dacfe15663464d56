"""The jobs, and the indexes by which they are found."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from generation_worker.db.schema.base import Moment, metadata

generation_job = Table(
    "generation_job",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("result", JSONB),
    Column("cost", BigInteger, nullable=False),
    Column("debited", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("position", Moment, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer),
    Column("crashes", Integer, nullable=False),
    Column("waits", Integer, nullable=False),
    Column("run_at", Moment, nullable=False),
    Column("deadline_at", Moment, nullable=False),
    Column("lease_token", Uuid),
    Column("locked_by", Text),
    Column("locked_at", Moment),
    Column("lease_expires_at", Moment),
    Column("cancel_requested_at", Moment),
    Column("batch_id", Uuid),
    Column("batch_index", Integer, nullable=False),
    Column("idempotency_key", Text),
    Column("request_hash", LargeBinary),
    Column("retry_of", Uuid),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("has_answer", Boolean, nullable=False),
    Column("fallback_provider", Text),
    Column("traceparent", Text),
    Column("held", Boolean, nullable=False),
)
job = generation_job.c
WAITING = text("status IN ('pending', 'scheduled', 'rate_limited')")

Index(
    "generation_job_claim",
    job.provider,
    job.held,
    job.priority,
    job.position,
    job.id,
    postgresql_where=text("status = 'pending'"),
)
Index(
    "generation_job_of_user",
    job.user_id,
    job.created_at.desc(),
    job.id.desc(),
    postgresql_where=text("status <> 'processing'"),
)
Index("generation_job_due", job.run_at, postgresql_where=text("status IN ('scheduled', 'rate_limited')"))
Index(
    "generation_job_leased",
    job.user_id,
    job.created_at.desc(),
    job.id.desc(),
    postgresql_where=text("status = 'processing'"),
)
Index(
    "generation_job_waiting",
    job.user_id,
    job.status,
    job.position,
    postgresql_include=["cost", "debited"],
    postgresql_where=WAITING,
)
Index(
    "generation_job_deadline",
    job.deadline_at,
    postgresql_where=text("lease_token IS NULL AND finished_at IS NULL"),
)
Index("generation_job_finished", job.finished_at, postgresql_where=job.finished_at.is_not(None))
Index("generation_job_failed", job.finished_at, job.id, postgresql_where=text("status = 'failed'"))
Index("generation_job_batch", job.batch_id, postgresql_where=job.batch_id.is_not(None))
Index(
    "generation_job_idempotency",
    job.user_id,
    job.idempotency_key,
    job.batch_index,
    unique=True,
    postgresql_where=job.idempotency_key.is_not(None),
)
Index("generation_job_replay", job.retry_of, unique=True, postgresql_where=job.retry_of.is_not(None))

Index("generation_job_answered", job.provider, postgresql_where=text("status = 'pending' AND has_answer"))
Index(
    "generation_job_movable",
    job.provider,
    job.priority,
    job.position,
    job.id,
    postgresql_where=text("status = 'pending' AND fallback_provider IS NOT NULL"),
)

Index("generation_job_held", job.kind, job.user_id, postgresql_where=text("status = 'pending' AND held"))
