"""What people have set for the whole fleet, and who changed what."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from generation_worker.db.schema.base import Moment, metadata

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
