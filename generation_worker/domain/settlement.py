"""The whole state machine of an attempt's end: ``settle`` decides, a statement writes what it decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

from generation_worker.domain.errors import (
    ContentBlocked,
    JobError,
    ProviderLimited,
    ProviderRefused,
    StorageUnavailable,
    clean_message,
)
from generation_worker.domain.job import FINAL, MOST_ATTEMPTS, Job, Status

# How an attempt ended, as a value.


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


# When to try again.


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


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is written because of an outcome. ``delay`` is seconds from now, by the database's clock."""

    outcome: str
    status: Status
    delay: float | None = None
    crash_step: int = 0
    allowance: int = 0
    """Attempts that are added to the maximum, for one that did not get as far as to fail by the job's own fault."""
    error_code: str | None = None
    error_message: str | None = None
    result: dict[str, Any] | None = None

    @property
    def cancel_status(self) -> Status:
        """The status if somebody asked to cancel meanwhile: an end stands, another attempt does not begin."""
        return self.status if self.status in FINAL else "cancelled"

    @property
    def attempt_step(self) -> int:
        """-1 gives the attempt back: the job waited or was interrupted, it did not fail."""
        return -1 if self.status in ("pending", "rate_limited") else 0

    @property
    def wait_step(self) -> int:
        return 1 if self.status == "rate_limited" else 0


def settle(job: Job, outcome: Outcome, policy: RetryPolicy, *, elapsed: float, spread: float) -> Settlement:
    """Decide how ``job`` goes on after ``outcome``.

    ``elapsed`` is seconds since the claim; ``spread`` in [0, 1) is the chance that jitter takes. Total and pure.
    """
    seconds_left = job.seconds_left - elapsed
    match outcome:
        case Completed(result):
            return Settlement("completed", "completed", result=result)
        case Cancelled():
            return Settlement("cancelled", "cancelled")
        case Released():
            return Settlement("released", "pending")
        case Blocked(error):
            return _fail("blocked", error.code, error.message)
        case Failed(error):
            return _after_failure(job, error, policy, seconds_left, spread)
        case RateLimited(error):
            return _after_limit(job, error, policy, seconds_left, spread)
        case Crashed():
            return _after_crash(job, outcome, policy, seconds_left, spread)
        case _:
            assert_never(outcome)


def _after_failure(job: Job, error: JobError, policy: RetryPolicy, seconds_left: float, spread: float) -> Settlement:
    if isinstance(error, StorageUnavailable) and error.kept and job.max_attempts < MOST_ATTEMPTS:
        return _after_kept(job, error, policy, seconds_left, spread)
    if not error.retry or job.attempt >= job.max_attempts:
        return _fail("failed", error.code, error.message)
    delay = backoff(job.attempt, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("failed", error.message)
    return Settlement("failed", "scheduled", delay, error_code=error.code, error_message=error.message)


def _after_kept(
    job: Job, error: StorageUnavailable, policy: RetryPolicy, seconds_left: float, spread: float
) -> Settlement:
    """What is paid for is stored in the end: only the job's deadline ends that, or the table's bound on attempts."""
    if seconds_left < LAST_MOMENT:
        return _too_late("failed", error.message)
    left = MOST_ATTEMPTS - job.max_attempts
    delay = wait_for_storage(job.attempt, policy, attempts_left=left, seconds_left=seconds_left, spread=spread)
    return Settlement(
        "failed", "scheduled", delay, allowance=1, error_code=error.code, error_message=clean_message(error.message)
    )


def _after_limit(
    job: Job, error: ProviderLimited | ProviderRefused, policy: RetryPolicy, seconds_left: float, spread: float
) -> Settlement:
    if job.waits >= policy.max_waits:
        return _fail("rate_limited", error.code, f"No better after {job.waits} waits: {error.message}")
    delay = wait_for_limit(error.wait, job.waits, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("rate_limited", error.message)
    return Settlement("rate_limited", "rate_limited", delay, error_code=error.code, error_message=error.message)


def _after_crash(job: Job, crash: Crashed, policy: RetryPolicy, seconds_left: float, spread: float) -> Settlement:
    code, message = _words_for(crash)
    crashes = job.crashes + 1
    if crashes >= policy.max_crashes:
        told = f"{crashes} attempts ended without a word; the last time: {message}"
        return _fail("crashed", "too_many_crashes", told, crash_step=1)
    if job.attempt >= job.max_attempts:
        return _fail("crashed", code, message, crash_step=1)
    delay = backoff(crashes, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("crashed", message, crash_step=1)
    return Settlement(
        "crashed", "scheduled", delay, crash_step=1, error_code=code, error_message=clean_message(message)
    )


def _words_for(crash: Crashed) -> tuple[str, str]:
    if crash.timed_out:
        return "attempt_timeout", f"The attempt on worker {crash.worker} outlived its time and never came back."
    return "worker_lost", f"Worker {crash.worker} fell silent while it held the job."


def _too_late(outcome: str, message: str, crash_step: int = 0) -> Settlement:
    told = f"The next attempt would start after the job's deadline. The last error: {message}"
    return _fail(outcome, "deadline_exceeded", told, crash_step)


def _fail(outcome: str, code: str, message: str, crash_step: int = 0) -> Settlement:
    return Settlement(outcome, "failed", crash_step=crash_step, error_code=code, error_message=clean_message(message))
