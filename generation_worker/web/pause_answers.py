"""A pause as every answer tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, Field

from generation_worker.domain.pause import What, extent_of


class KnownPause(Protocol):
    """Something that nobody starts; ``name`` is the setting that keeps it."""

    @property
    def name(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def since(self) -> datetime: ...
    @property
    def by(self) -> str | None: ...


class Pause(BaseModel):
    """Something that nobody starts."""

    what: What
    name: str | None = Field(description="Of the provider, kind or user; null for everything.")
    since: datetime
    by: str | None
    reason: str | None


def pause_answer(pause: KnownPause) -> Pause:
    extent = extent_of(pause.name)
    return Pause(what=extent.what, name=extent.name or None, since=pause.since, by=pause.by, reason=pause.reason)
