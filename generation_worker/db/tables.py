"""The jobs, and the indexes by which they are found."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from generation_worker.domain.schema import SCHEMA

metadata = sa.MetaData(schema=SCHEMA)

Moment = sa.DateTime(timezone=True)


generation_job = sa.Table(
    "generation_job",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("result", JSONB),
    sa.Column("cost", sa.BigInteger, nullable=False),
    sa.Column("debited", sa.Boolean, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("position", Moment, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("waits", sa.Integer, nullable=False),
    sa.Column("run_at", Moment, nullable=False),
    sa.Column("deadline_at", Moment, nullable=False),
    sa.Column("lease_token", sa.Uuid),
    sa.Column("locked_by", sa.Text),
    sa.Column("locked_at", Moment),
    sa.Column("lease_expires_at", Moment),
    sa.Column("cancel_requested_at", Moment),
    sa.Column("batch_id", sa.Uuid),
    sa.Column("batch_index", sa.Integer, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("request_hash", sa.LargeBinary),
    sa.Column("retry_of", sa.Uuid),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column("has_answer", sa.Boolean, nullable=False),
    sa.Column("fallback_provider", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("parked", sa.Boolean, nullable=False),
)
job = generation_job.c
WAITING = sa.text("status IN ('pending', 'scheduled', 'rate_limited')")

sa.Index(
    "generation_job_claim",
    job.provider,
    job.parked,
    job.priority,
    job.position,
    job.id,
    postgresql_where=sa.text("status = 'pending'"),
)
sa.Index(
    "generation_job_of_user",
    job.user_id,
    job.created_at.desc(),
    job.id.desc(),
    postgresql_where=sa.text("status <> 'processing'"),
)
sa.Index("generation_job_due", job.run_at, postgresql_where=sa.text("status IN ('scheduled', 'rate_limited')"))
sa.Index(
    "generation_job_leased",
    job.user_id,
    job.created_at.desc(),
    job.id.desc(),
    postgresql_where=sa.text("status = 'processing'"),
)
sa.Index(
    "generation_job_waiting",
    job.user_id,
    job.status,
    job.position,
    postgresql_include=["cost", "debited"],
    postgresql_where=WAITING,
)
sa.Index(
    "generation_job_deadline",
    job.deadline_at,
    postgresql_where=sa.text("lease_token IS NULL AND finished_at IS NULL"),
)
sa.Index("generation_job_finished", job.finished_at, postgresql_where=job.finished_at.is_not(None))
sa.Index("generation_job_failed", job.finished_at, job.id, postgresql_where=sa.text("status = 'failed'"))
sa.Index("generation_job_batch", job.batch_id, postgresql_where=job.batch_id.is_not(None))
sa.Index(
    "generation_job_idempotency",
    job.user_id,
    job.idempotency_key,
    job.batch_index,
    unique=True,
    postgresql_where=job.idempotency_key.is_not(None),
)
sa.Index("generation_job_replay", job.retry_of, unique=True, postgresql_where=job.retry_of.is_not(None))

sa.Index("generation_job_answered", job.provider, postgresql_where=sa.text("status = 'pending' AND has_answer"))
sa.Index(
    "generation_job_movable",
    job.provider,
    job.priority,
    job.position,
    job.id,
    postgresql_where=sa.text("status = 'pending' AND fallback_provider IS NOT NULL"),
)

sa.Index("generation_job_parked", job.kind, job.user_id, postgresql_where=sa.text("status = 'pending' AND parked"))


# Who may ask over HTTP.


api_token = sa.Table(
    "api_token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("most_waiting", sa.Integer),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment),
    sa.Column("max_body_kb", sa.Integer),
    sa.Index("api_token_created", "created_at", "id"),
)

api_token_pace = sa.Table(
    "api_token_pace",
    metadata,
    sa.Column("token_id", sa.Text, primary_key=True),
    sa.Column("next_at", Moment, nullable=False),
)

dashboard_session = sa.Table(
    "dashboard_session",
    metadata,
    sa.Column("id_hash", sa.LargeBinary, primary_key=True),
    sa.Column("token_id", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["token_id"], ["api_token.id"], ondelete="CASCADE"),
    sa.Index("dashboard_session_expired", "expires_at"),
)


# Accounts of credits and their entries.


credit_account = sa.Table(
    "credit_account",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("entries", sa.BigInteger, nullable=False),
    sa.Column("fair_weight", sa.REAL, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

sa.Index("credit_account_beginning", credit_account.c.user_id, postgresql_ops={"user_id": "text_pattern_ops"})

credit_entry = sa.Table(
    "credit_entry",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("balance_after", sa.BigInteger, nullable=False),
    sa.Column("job_id", sa.Uuid),
    sa.Column("refund_of", sa.BigInteger),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["user_id", "refund_of"], ["credit_entry.user_id", "credit_entry.seq"]),
)
entry = credit_entry.c

sa.Index(
    "credit_entry_idempotency",
    entry.user_id,
    entry.idempotency_key,
    unique=True,
    postgresql_where=entry.idempotency_key.is_not(None),
)
sa.Index("credit_entry_once_a_job", entry.job_id, entry.kind, unique=True, postgresql_where=entry.job_id.is_not(None))


# What was tried for a job: its attempts, the provider calls that were paid for, an image that waits to be stored.


job_attempt = sa.Table(
    "job_attempt",
    metadata,
    sa.Column("job_id", sa.Uuid, primary_key=True),
    sa.Column("lease_token", sa.Uuid, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("ended_at", Moment, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
)

provider_call = sa.Table(
    "provider_call",
    metadata,
    sa.Column("job_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("lease_token", sa.Uuid, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("key_label", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("provider_ref", sa.Text),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("milliseconds", sa.Integer),
    sa.Column("spent", sa.Boolean),
    sa.Column("usage", JSONB),
    sa.Column("error_code", sa.Text),
    sa.Column("resumable", sa.Boolean, nullable=False),
)
sa.Index("provider_call_started", provider_call.c.started_at)
sa.Index("provider_call_again", provider_call.c.started_at, postgresql_where=provider_call.c.number > 1)

staged_image = sa.Table(
    "staged_image",
    metadata,
    sa.Column("job_id", sa.Uuid, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)


# What people have set for the whole fleet, and who changed what.


fleet_setting = sa.Table(
    "fleet_setting",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", JSONB, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("updated_by", sa.Text),
)

audit_event = sa.Table(
    "audit_event",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("before", JSONB),
    sa.Column("after", JSONB),
)
sa.Index("audit_event_target", audit_event.c.target, audit_event.c.id)
sa.Index("audit_event_actor", audit_event.c.actor, audit_event.c.id)


# The workers, the gates of the providers' keys, and the upkeep that they share.


worker_process = sa.Table(
    "worker_process",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("asleep", sa.Boolean, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("providers", ARRAY(sa.Text), nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("busy", sa.Integer, nullable=False),
    sa.Column("stuck", sa.Integer, nullable=False),
    sa.Column("keys", ARRAY(sa.Text), nullable=False),
)

provider_gate = sa.Table(
    "provider_gate",
    metadata,
    sa.Column("key_label", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("calls_per_minute", sa.Integer, nullable=False),
    sa.Column("limited_since", Moment, nullable=False),
    sa.Column("head", sa.BigInteger, nullable=False),
    sa.Column("used", ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("closed_until", Moment),
    sa.Column("closed_for", sa.Text),
    sa.Column("limits", sa.Integer, nullable=False),
    sa.Column("breaker", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("openings", sa.Integer, nullable=False),
    sa.Column("opened_at", Moment),
    sa.Column("open_until", Moment),
    sa.Column("opened_for", sa.Text),
    sa.Column("probe_job", sa.Uuid),
    sa.Column("given_per_minute", sa.Integer),
)

maintenance_task = sa.Table(
    "maintenance_task",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("next_at", Moment, nullable=False),
    sa.Column("last_ok_at", Moment),
    sa.Column("last_error", sa.Text),
    sa.Column("cursor", sa.Text),
    sa.Column("found", JSONB),
)

swept_upload = sa.Table(
    "swept_upload",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("swept_at", Moment, nullable=False),
)
sa.Index("swept_upload_at", swept_upload.c.swept_at)


# Endpoints of webhooks, and their deliveries.


webhook_endpoint = sa.Table(
    "webhook_endpoint",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", ARRAY(sa.Text), nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("old_secret", sa.Text),
    sa.Column("old_secret_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("enabled_since", Moment, nullable=False),
    sa.Column("failing_since", Moment),
    sa.Column("closed_until", Moment),
    sa.Column("disabled_at", Moment),
    sa.Column("disabled_for", sa.Text),
)

webhook_delivery = sa.Table(
    "webhook_delivery",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("endpoint_id", sa.Uuid, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("job_id", sa.Uuid),
    sa.Column("batch_id", sa.Uuid),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", Moment, nullable=False),
    sa.Column("lease_token", sa.Uuid),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
)
sent = webhook_delivery.c
sa.Index("webhook_delivery_due", sent.endpoint_id, sent.next_at, postgresql_where=sent.status == "pending")
sa.Index("webhook_delivery_created", sent.created_at, sent.id)
sa.Index("webhook_delivery_endpoint", sent.endpoint_id, sent.created_at, sent.id)
sa.Index(
    "webhook_delivery_failed",
    sent.endpoint_id,
    sent.created_at,
    sent.id,
    postgresql_where=sa.text("status <> 'delivered' AND last_error IS NOT NULL"),
)
sa.Index("webhook_delivery_job", sent.job_id, sent.endpoint_id, unique=True, postgresql_where=sent.job_id.is_not(None))
sa.Index(
    "webhook_delivery_batch", sent.batch_id, sent.endpoint_id, unique=True, postgresql_where=sent.batch_id.is_not(None)
)

webhook_batch = sa.Table(
    "webhook_batch",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("batch_id", sa.Uuid, nullable=False),
    sa.Column("at", Moment, nullable=False),
)
