"""Gates of provider keys: what the end of one call means for its key, and when a breaker opens."""

from dataclasses import dataclass
from typing import Literal

from generation_worker.domain import errors

Verdict = Literal["ok", "failed", "refused", "limited"]

WINDOW = 60.6
"""Seconds for which a call counts against its key's limit: the provider's minute, and a margin for the network."""
FRESH = 0.25
"""Most seconds between the time of a permit and its request: less than that margin."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a key's breaker opens, and for how long: ``shortest`` seconds, then twice as long, up to ``longest``."""

    failures: int = 5
    """Consecutive calls that fail."""
    shortest: float = 30.0
    longest: float = 900.0


BREAKER = BreakerPolicy()


def verdict_of(error: BaseException | None) -> Verdict | None:
    """What an error, or success (None), means for the key. None: nothing (a stopped attempt, or a bug of ours)."""
    match error:
        case errors.GateClosed():
            return None
        case errors.ProviderLimited():
            return "limited"
        case errors.ProviderRefused():
            return "refused"
        case errors.ProviderUnavailable() | errors.ProviderTimedOut():
            return "failed"
        case None | errors.ProviderRejected() | errors.NoImage() | errors.OutputRejected() | errors.ContentBlocked():
            return "ok"
        case _:
            return None
