"""What was tried for a job: its attempts, the provider calls that were paid for, an image that waits to be stored."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from generation_worker.db.schema.base import Moment, metadata

job_attempt = Table(
    "job_attempt",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("lease_token", Uuid, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
)

provider_call = Table(
    "provider_call",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("lease_token", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("key_label", Text, nullable=False),
    Column("model", Text),
    Column("provider_ref", Text),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("milliseconds", Integer),
    Column("spent", Boolean),
    Column("usage", JSONB),
    Column("error_code", Text),
    Column("resumable", Boolean, nullable=False),
)
Index("provider_call_started", provider_call.c.started_at)
Index("provider_call_again", provider_call.c.started_at, postgresql_where=provider_call.c.number > 1)

staged_image = Table(
    "staged_image",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("bytes", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
)
