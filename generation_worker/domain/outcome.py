"""How an attempt ended, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from generation_worker.domain.errors import ContentBlocked, JobError, ProviderLimited, ProviderRefused


@dataclass(frozen=True, slots=True)
class Completed:
    """The image is stored; ``result`` is what the app will read."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; the error says whether another one is worth it."""

    error: JobError


@dataclass(frozen=True, slots=True)
class Blocked:
    """The provider's content rules do not allow the image."""

    error: ContentBlocked


@dataclass(frozen=True, slots=True)
class RateLimited:
    """It is too early, or the provider will have nothing of us until an operator has acted. No attempt is used up."""

    error: ProviderLimited | ProviderRefused


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked to cancel, and the attempt obeyed."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker is shutting down and gives the job back. No attempt is used up."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The lease expired: the worker died, or its thread never came back."""

    worker: str
    timed_out: bool
    """The attempt's own time was over too, so it hung rather than died."""


Outcome = Completed | Failed | Blocked | RateLimited | Cancelled | Released | Crashed


def outcome_of(error: JobError) -> Outcome:
    """The outcome that an error amounts to."""
    if isinstance(error, ContentBlocked):
        return Blocked(error)
    if isinstance(error, ProviderLimited | ProviderRefused):
        return RateLimited(error)
    return Failed(error)
