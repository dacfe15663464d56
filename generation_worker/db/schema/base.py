"""What all tables have in common."""

from __future__ import annotations

from sqlalchemy import DateTime, MetaData

metadata = MetaData()

Moment = DateTime(timezone=True)
