"""Answers about what people have set for the whole fleet, and who changed what."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class FleetSetting(NamedTuple):
    name: str
    value: Any
    updated_at: datetime
    updated_by: str | None


class Pause(NamedTuple):
    """What nobody starts. ``name`` is the setting that keeps it, such as ``paused.provider.gemini``."""

    name: str
    reason: str | None
    since: datetime
    by: str | None


class AuditEvent(NamedTuple):
    """One change by a person or a key."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str | None
    before: Any
    after: Any


class AuditReach(NamedTuple):
    """The earliest of the events that were looked at."""

    id: int
    at: datetime
    more: bool
    """There are events before it."""
