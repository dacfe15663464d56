"""Answers about the fleet. Spans are in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple


class Worker(NamedTuple):
    id: str
    state: str
    """silent (not heard of for two minutes), stuck, busy, asleep or idle."""
    busy: int
    stuck: int
    concurrency: int
    providers: list[str]
    version: str
    started_at: datetime
    seen_at: datetime
    seen_seconds: float


class Gate(NamedTuple):
    """How things stand with one key of a provider, for the whole fleet."""

    key_label: str
    provider: str
    calls_per_minute: int
    used: int
    """Calls of the last minute."""
    state: str
    """ok, limited (the provider said 429), open (the breaker is), or probing (one job tries whether it works again)."""
    reason: str | None
    seconds: float
    """Until it is tried again."""
    opened_at: datetime | None
    failures: int
    """Calls that have failed one after the other."""
    workers: int
    """Living workers that hold the key."""
    until: datetime | None = None
    """When it is tried again, or was; None if nothing has closed it yet."""
    given_per_minute: int | None = None
    """The limit that workers were started with; None if none has said."""
    holders: Sequence[str] = ()
    """The ids of the living workers that hold the key, at most 100."""


class MaintenanceTask(NamedTuple):
    name: str
    seconds: float | None
    """Since it was done to its end; None if it never was."""
    last_error: str | None
    """Of the last run; None if that went well."""
    found: dict[str, Any] | None
    """What it keeps for others; None if it keeps nothing."""
    overdue: float = 0.0
    """For how long it has been due; 0 if it is not. A fleet that works keeps that below the interval of its looks."""
