"""The whole state machine of an attempt's end: ``settle`` decides, a statement writes what it decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

from generation_worker.domain.errors import (
    JobError,
    ProviderLimited,
    ProviderRefused,
    StorageUnavailable,
    clean_message,
)
from generation_worker.domain.job import FINAL, MOST_ATTEMPTS, Job, Status
from generation_worker.domain.outcome import (
    Blocked,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Outcome,
    RateLimited,
    Released,
)
from generation_worker.domain.retry import LAST_MOMENT, RetryPolicy, backoff, wait_for_limit, wait_for_storage


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
