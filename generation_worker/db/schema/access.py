"""Who may ask over HTTP."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from generation_worker.db.schema.base import Moment, metadata

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
