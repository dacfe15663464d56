"""The jobs, and the indexes by which they are found."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from generation_worker.domain.schema import SCHEMA

# What all tables have in common.


metadata = MetaData(schema=SCHEMA)

Moment = DateTime(timezone=True)


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


# Who may ask over HTTP.


api_token = Table(
    "api_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("user_id", Text),
    Column("requests_per_minute", Integer),
    Column("most_waiting", Integer),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("max_body_kb", Integer),
    Index("api_token_created", "created_at", "id"),
)

api_token_pace = Table(
    "api_token_pace",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("next_at", Moment, nullable=False),
)

dashboard_session = Table(
    "dashboard_session",
    metadata,
    Column("id_hash", LargeBinary, primary_key=True),
    Column("token_id", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    ForeignKeyConstraint(["token_id"], ["api_token.id"], ondelete="CASCADE"),
    Index("dashboard_session_expired", "expires_at"),
)


# Accounts of credits and their entries.


credit_account = Table(
    "credit_account",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("balance", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("fair_weight", REAL, nullable=False),
    Column("created_at", Moment, nullable=False),
)

Index("credit_account_beginning", credit_account.c.user_id, postgresql_ops={"user_id": "text_pattern_ops"})

credit_entry = Table(
    "credit_entry",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("job_id", Uuid),
    Column("refund_of", BigInteger),
    Column("idempotency_key", Text),
    Column("reason", Text),
    Column("actor", Text),
    Column("created_at", Moment, nullable=False),
    ForeignKeyConstraint(["user_id", "refund_of"], ["credit_entry.user_id", "credit_entry.seq"]),
)
entry = credit_entry.c

Index(
    "credit_entry_idempotency",
    entry.user_id,
    entry.idempotency_key,
    unique=True,
    postgresql_where=entry.idempotency_key.is_not(None),
)
Index("credit_entry_once_a_job", entry.job_id, entry.kind, unique=True, postgresql_where=entry.job_id.is_not(None))


# What was tried for a job: its attempts, the provider calls that were paid for, an image that waits to be stored.


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


# What people have set for the whole fleet, and who changed what.


fleet_setting = Table(
    "fleet_setting",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("updated_by", Text),
)

audit_event = Table(
    "audit_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text),
    Column("before", JSONB),
    Column("after", JSONB),
)
Index("audit_event_target", audit_event.c.target, audit_event.c.id)
Index("audit_event_actor", audit_event.c.actor, audit_event.c.id)


# The workers, the gates of the providers' keys, and the upkeep that they share.


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


# Endpoints, and what they are told.


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
