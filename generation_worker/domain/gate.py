"""What the end of one call says of the key that it was made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from generation_worker.domain.errors import (
    ContentBlocked,
    GateClosed,
    NoImage,
    OutputRejected,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)

Verdict = Literal["ok", "failed", "refused", "limited"]

WINDOW = 60.6
"""Seconds for which a call counts against its key's limit: the provider's minute, and a margin for the way there."""
FRESH = 0.25
"""Seconds that may lie between the stamp of a permit and its request: less than that margin."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a key's breaker opens, and for how long: ``shortest`` seconds, then twice as long, up to ``longest``."""

    failures: int = 5
    """Calls that fail one after the other, with no answer between them."""
    shortest: float = 30.0
    longest: float = 900.0


BREAKER = BreakerPolicy()


def verdict_of(error: BaseException | None) -> Verdict | None:
    """None if the end says nothing of the provider: the attempt was stopped, or the fault lies here."""
    match error:
        case GateClosed():
            return None
        case ProviderLimited():
            return "limited"
        case ProviderRefused():
            return "refused"
        case ProviderUnavailable() | ProviderTimedOut():
            return "failed"
        case None | ProviderRejected() | NoImage() | OutputRejected() | ContentBlocked():
            return "ok"
        case _:
            return None
