"""Accounts of credits and their entries."""

from __future__ import annotations

from sqlalchemy import REAL, BigInteger, Column, ForeignKeyConstraint, Index, Table, Text, Uuid

from generation_worker.db.schema.base import Moment, metadata

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
