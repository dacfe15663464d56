"""Answers about endpoints and what they are told."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Endpoint(NamedTuple):
    """An address that is told of events."""

    id: UUID
    url: str
    events: list[str]
    user_id: str | None
    """The only user whose jobs it is told of; None: of all."""
    state: str
    """ok, failing, resting (it asked to be left alone for a while) or disabled."""
    reason: str | None
    since: datetime | None
    """Of its failing, or of its being disabled."""
    waiting: int
    dead: int
    """Messages that were given up. Both numbers end at a thousand."""
    created_at: datetime
    created_by: str | None
    old_secret_until: datetime | None
    """Until then the secret before the present one signs, too."""


class SentMessage(NamedTuple):
    """A message for one endpoint, and what came of its last try."""

    id: UUID
    endpoint_id: UUID
    event: str
    job_id: UUID | None
    batch_id: UUID | None
    status: str
    """pending, delivered or dead."""
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None
