"""The end of an attempt: ``settle`` decides what happens to the job, and one SQL statement writes the decision.

This is the only place where the states of a job are compared. It is pure: no clock, no I/O, no randomness.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from generation_worker.domain import errors
from generation_worker.domain.job import FINAL, MOST_ATTEMPTS, Job, Status


@dataclass(frozen=True, slots=True)
class Completed:
    """The image is stored. ``result`` is the job's result for the app."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. The error determines whether another attempt follows."""

    error: errors.JobError


@dataclass(frozen=True, slots=True)
class Blocked:
    """The provider's content rules do not allow the image."""

    error: errors.ContentBlocked


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The provider accepts no call now, or none until an operator acts. No attempt is used up."""

    error: errors.ProviderLimited | errors.ProviderRefused


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled, and the attempt stopped."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker shuts down and gives the job back. No attempt is used up."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The lease expired, because the worker died or its thread never returned."""

    worker: str
    timed_out: bool
    """The attempt's own time was over too, so its thread hung and the worker did not die."""


Outcome = Completed | Failed | Blocked | RateLimited | Cancelled | Released | Crashed


def outcome_of(error: errors.JobError) -> Outcome:
    """The outcome that corresponds to an error."""
    if isinstance(error, errors.ContentBlocked):
        return Blocked(error)
    if isinstance(error, errors.ProviderLimited | errors.ProviderRefused):
        return RateLimited(error)
    return Failed(error)


FIRST_WAIT_IN_SECONDS = 1.0
"""The shortest wait after a rate limit, even if the provider names a shorter one."""

LAST_MOMENT = 1.0
"""With fewer seconds than this until its deadline a job is not tried again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds. Failures, crashes and waits have separate bounds, because they have separate causes."""

    initial_delay: float = 5.0
    max_delay: float = 300.0
    factor: float = 2.0
    jitter: bool = True
    max_crashes: int = 3
    max_waits: int = 100


def backoff(number: int, policy: RetryPolicy, *, spread: float) -> float:
    """Seconds to wait after the failure with this number (from 1): exponential, up to ``max_delay``.

    With jitter it lies between half of that and all of it, by ``spread`` in [0, 1), so that jobs that failed together
    are not tried together.
    """
    try:
        delay = min(policy.initial_delay * float(policy.factor) ** (number - 1), policy.max_delay)
    except OverflowError:
        delay = policy.max_delay
    return delay * (0.5 + spread / 2) if policy.jitter else delay


def wait_for_storage(
    attempt: int, policy: RetryPolicy, *, attempts_left: int, seconds_left: float, spread: float
) -> float:
    """Seconds to wait before a kept image is stored again: a backoff that leaves attempts until the deadline.

    Each wait is at least a share of the remaining time. The share is almost 0 at first and grows with the attempts.
    """
    share = (attempt / (attempt + attempts_left)) ** 4
    delay = max(backoff(attempt, policy, spread=spread), seconds_left * share)
    return min(delay, seconds_left / 2)


def wait_for_limit(requested: float | None, waits: int, policy: RetryPolicy, *, spread: float) -> float:
    """Seconds to wait after a 429: slightly more than the provider requested, or a backoff if it named no time."""
    if requested is None:
        return max(FIRST_WAIT_IN_SECONDS, backoff(waits + 1, policy, spread=spread))
    return max(FIRST_WAIT_IN_SECONDS, requested) * (1 + 0.2 * spread)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The decision that is written. ``delay`` is seconds from now, by the database's clock."""

    outcome: str
    status: Status
    delay: float | None = None
    crash_step: int = 0
    allowance: int = 0
    """Attempts that are added to the maximum, because the job itself did not cause this failure."""
    error_code: str | None = None
    error_message: str | None = None
    result: dict[str, Any] | None = None

    @property
    def cancel_status(self) -> Status:
        """The status if the job was cancelled meanwhile: a final status stays, and no other attempt begins."""
        return self.status if self.status in FINAL else "cancelled"

    @property
    def attempt_step(self) -> int:
        """-1 gives the attempt back, because the job waited or was interrupted and did not fail."""
        return -1 if self.status in ("pending", "rate_limited") else 0

    @property
    def wait_step(self) -> int:
        return 1 if self.status == "rate_limited" else 0


def settle(job: Job, outcome: Outcome, policy: RetryPolicy, *, elapsed: float, spread: float) -> Settlement:
    """Decide what happens to ``job`` after ``outcome``. Total and pure.

    ``elapsed`` is the seconds since the claim. ``spread`` in [0, 1) is the random number that jitter uses.
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


def _after_failure(
    job: Job, error: errors.JobError, policy: RetryPolicy, seconds_left: float, spread: float
) -> Settlement:
    if isinstance(error, errors.StorageUnavailable) and error.kept and job.max_attempts < MOST_ATTEMPTS:
        return _after_kept(job, error, policy, seconds_left, spread)
    if not error.retry or job.attempt >= job.max_attempts:
        return _fail("failed", error.code, error.message)
    delay = backoff(job.attempt, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("failed", error.message)
    return Settlement("failed", "scheduled", delay, error_code=error.code, error_message=error.message)


def _after_kept(
    job: Job, error: errors.StorageUnavailable, policy: RetryPolicy, seconds_left: float, spread: float
) -> Settlement:
    """A paid image is tried until it is stored: only the deadline or the table's bound on attempts ends that."""
    if seconds_left < LAST_MOMENT:
        return _too_late("failed", error.message)
    left = MOST_ATTEMPTS - job.max_attempts
    delay = wait_for_storage(job.attempt, policy, attempts_left=left, seconds_left=seconds_left, spread=spread)
    return Settlement(
        "failed",
        "scheduled",
        delay,
        allowance=1,
        error_code=error.code,
        error_message=errors.clean_message(error.message),
    )


def _after_limit(
    job: Job,
    error: errors.ProviderLimited | errors.ProviderRefused,
    policy: RetryPolicy,
    seconds_left: float,
    spread: float,
) -> Settlement:
    if job.waits >= policy.max_waits:
        return _fail("rate_limited", error.code, f"Still limited after {job.waits} waits: {error.message}")
    delay = wait_for_limit(error.wait, job.waits, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("rate_limited", error.message)
    return Settlement("rate_limited", "rate_limited", delay, error_code=error.code, error_message=error.message)


def _after_crash(job: Job, crash: Crashed, policy: RetryPolicy, seconds_left: float, spread: float) -> Settlement:
    code, message = _cause_of(crash)
    crashes = job.crashes + 1
    if crashes >= policy.max_crashes:
        return _fail(
            "crashed", "too_many_crashes", f"{crashes} attempts crashed. The last one: {message}", crash_step=1
        )
    if job.attempt >= job.max_attempts:
        return _fail("crashed", code, message, crash_step=1)
    delay = backoff(crashes, policy, spread=spread)
    if delay >= seconds_left:
        return _too_late("crashed", message, crash_step=1)
    return Settlement(
        "crashed", "scheduled", delay, crash_step=1, error_code=code, error_message=errors.clean_message(message)
    )


def _cause_of(crash: Crashed) -> tuple[str, str]:
    if crash.timed_out:
        return "attempt_timeout", f"The attempt on worker {crash.worker} exceeded its time and never returned."
    return "worker_lost", f"Worker {crash.worker} stopped responding while it held the job."


def _too_late(outcome: str, message: str, crash_step: int = 0) -> Settlement:
    text = f"The next attempt would start after the job's deadline. The last error: {message}"
    return _fail(outcome, "deadline_exceeded", text, crash_step)


def _fail(outcome: str, code: str, message: str, crash_step: int = 0) -> Settlement:
    return Settlement(
        outcome, "failed", crash_step=crash_step, error_code=code, error_message=errors.clean_message(message)
    )
