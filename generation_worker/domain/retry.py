"""When to try again."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_IN_SECONDS = 1.0
"""Shortest wait after a rate limit, whatever the provider says."""

LAST_MOMENT = 1.0
"""With fewer seconds than this until a job's deadline nothing is tried again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds; the three maxima are bounds of their own, because they end different troubles."""

    initial_delay: float = 5.0
    max_delay: float = 300.0
    factor: float = 2.0
    jitter: bool = True
    max_crashes: int = 3
    max_waits: int = 100


def backoff(number: int, policy: RetryPolicy, *, spread: float) -> float:
    """Seconds to wait after the failure with this number (from 1).

    Exponential up to ``max_delay``. With jitter it lies between half of that and the whole, by ``spread`` in [0, 1):
    what failed together must not come back together.
    """
    try:
        delay = min(policy.initial_delay * float(policy.factor) ** (number - 1), policy.max_delay)
    except OverflowError:
        delay = policy.max_delay
    return delay * (0.5 + spread / 2) if policy.jitter else delay


def wait_for_storage(
    attempt: int, policy: RetryPolicy, *, attempts_left: int, seconds_left: float, spread: float
) -> float:
    """Seconds to wait before a kept image is stored again: a backoff, but so that attempts are left until the deadline.

    Each wait is at least a share of the time left. It is next to nothing at first and grows with the attempts used.
    """
    share = (attempt / (attempt + attempts_left)) ** 4
    delay = max(backoff(attempt, policy, spread=spread), seconds_left * share)
    return min(delay, seconds_left / 2)


def wait_for_limit(asked: float | None, waits: int, policy: RetryPolicy, *, spread: float) -> float:
    """Seconds to wait after a 429: what the provider asked for and a little more, or a backoff if it said nothing."""
    if asked is None:
        return max(FIRST_WAIT_IN_SECONDS, backoff(waits + 1, policy, spread=spread))
    return max(FIRST_WAIT_IN_SECONDS, asked) * (1 + 0.2 * spread)
