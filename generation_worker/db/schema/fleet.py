"""The workers, the gates of the providers' keys, and the upkeep that they share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from generation_worker.db.schema.base import Moment, metadata

worker_process = Table(
    "worker_process",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("asleep", Boolean, nullable=False),
    Column("version", Text, nullable=False),
    Column("providers", ARRAY(Text), nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("busy", Integer, nullable=False),
    Column("stuck", Integer, nullable=False),
    Column("keys", ARRAY(Text), nullable=False),
)

provider_gate = Table(
    "provider_gate",
    metadata,
    Column("key_label", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("calls_per_minute", Integer, nullable=False),
    Column("limited_since", Moment, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("used", ARRAY(SmallInteger), nullable=False),
    Column("closed_until", Moment),
    Column("closed_for", Text),
    Column("limits", Integer, nullable=False),
    Column("breaker", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("openings", Integer, nullable=False),
    Column("opened_at", Moment),
    Column("open_until", Moment),
    Column("opened_for", Text),
    Column("probe_job", Uuid),
    Column("given_per_minute", Integer),
)

maintenance_task = Table(
    "maintenance_task",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_at", Moment, nullable=False),
    Column("last_ok_at", Moment),
    Column("last_error", Text),
    Column("cursor", Text),
    Column("found", JSONB),
)

swept_upload = Table(
    "swept_upload",
    metadata,
    Column("key", Text, primary_key=True),
    Column("swept_at", Moment, nullable=False),
)
Index("swept_upload_at", swept_upload.c.swept_at)
