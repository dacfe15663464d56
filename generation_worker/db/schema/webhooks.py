"""Endpoints, and what they are told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY

from generation_worker.db.schema.base import Moment, metadata

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("user_id", Text),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", Moment),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text),
    Column("enabled_since", Moment, nullable=False),
    Column("failing_since", Moment),
    Column("closed_until", Moment),
    Column("disabled_at", Moment),
    Column("disabled_for", Text),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event", Text, nullable=False),
    Column("job_id", Uuid),
    Column("batch_id", Uuid),
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Moment, nullable=False),
    Column("lease_token", Uuid),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
)
sent = webhook_delivery.c
Index("webhook_delivery_due", sent.endpoint_id, sent.next_at, postgresql_where=sent.status == "pending")
Index("webhook_delivery_created", sent.created_at, sent.id)
Index("webhook_delivery_endpoint", sent.endpoint_id, sent.created_at, sent.id)
Index(
    "webhook_delivery_failed",
    sent.endpoint_id,
    sent.created_at,
    sent.id,
    postgresql_where=text("status <> 'delivered' AND last_error IS NOT NULL"),
)
Index("webhook_delivery_job", sent.job_id, sent.endpoint_id, unique=True, postgresql_where=sent.job_id.is_not(None))
Index(
    "webhook_delivery_batch", sent.batch_id, sent.endpoint_id, unique=True, postgresql_where=sent.batch_id.is_not(None)
)

webhook_batch = Table(
    "webhook_batch",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("batch_id", Uuid, nullable=False),
    Column("at", Moment, nullable=False),
)
