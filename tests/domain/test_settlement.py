"""The state machine of an attempt's end: every outcome, at every bound, before and after the deadline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.errors import (
    MESSAGE_LIMIT,
    AttemptTimedOut,
    ContentBlocked,
    InternalError,
    InvalidPayload,
    ProviderLimited,
    ProviderUnavailable,
    StorageUnavailable,
)
from generation_worker.domain.job import FINAL, WAITING, Job
from generation_worker.domain.settlement import (
    Blocked,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Outcome,
    RateLimited,
    Released,
    RetryPolicy,
    Settlement,
    settle,
)
from tests.domain.jobs import DAY, OUTCOMES, POLICIES, SECONDS, SPREADS, a_job, jobs

POLICY = RetryPolicy(initial_delay=10, max_delay=100, jitter=False, max_crashes=3, max_waits=5)
UNAVAILABLE = Failed(ProviderUnavailable("503"))
LIMITED = RateLimited(ProviderLimited("429", wait=30))
LOST = Crashed("worker-1", timed_out=False)
HUNG = Crashed("worker-1", timed_out=True)

SETTLEMENTS = st.builds(settle, jobs(), OUTCOMES, POLICIES, elapsed=SECONDS, spread=SPREADS)


def decide(outcome: Outcome, *, elapsed: float = 0, spread: float = 0, **job: Any) -> Settlement:
    return settle(a_job(**job), outcome, POLICY, elapsed=elapsed, spread=spread)


# what holds for every settlement


@given(SETTLEMENTS)
def test_an_attempt_ends_in_a_state_of_the_chart(settlement: Settlement) -> None:
    assert settlement.status in FINAL | WAITING


@given(SETTLEMENTS)
def test_only_a_job_that_waits_has_a_delay(settlement: Settlement) -> None:
    assert (settlement.delay is not None) == (settlement.status in ("scheduled", "rate_limited"))


@given(SETTLEMENTS)
def test_a_delay_is_a_time_to_come(settlement: Settlement) -> None:
    assert settlement.delay is None or settlement.delay > 0


@given(SETTLEMENTS)
def test_only_a_wait_or_a_release_gives_the_attempt_back(settlement: Settlement) -> None:
    assert settlement.attempt_step == (-1 if settlement.status in ("pending", "rate_limited") else 0)


@given(SETTLEMENTS)
def test_only_a_wait_counts_as_one(settlement: Settlement) -> None:
    assert settlement.wait_step == (settlement.status == "rate_limited")


@given(SETTLEMENTS)
def test_a_request_to_cancel_lets_an_end_stand_and_prevents_another_attempt(settlement: Settlement) -> None:
    expected = settlement.status if settlement.status in FINAL else "cancelled"
    assert settlement.cancel_status == expected


@given(SETTLEMENTS)
def test_a_result_is_there_if_and_only_if_the_job_is_completed(settlement: Settlement) -> None:
    assert (settlement.result is not None) == (settlement.status == "completed")


@given(SETTLEMENTS)
def test_a_failure_says_why_in_one_bounded_printable_line(settlement: Settlement) -> None:
    if settlement.status == "failed":
        assert settlement.error_code
        assert settlement.error_message
    if settlement.error_message is not None:
        assert len(settlement.error_message) <= MESSAGE_LIMIT
        assert settlement.error_message.isprintable()


@given(jobs(), OUTCOMES, POLICIES, SECONDS, SPREADS)
def test_only_a_crash_counts_as_one(
    job: Job, outcome: Outcome, policy: RetryPolicy, elapsed: float, spread: float
) -> None:
    settlement = settle(job, outcome, policy, elapsed=elapsed, spread=spread)
    assert settlement.crash_step == isinstance(outcome, Crashed)


@given(jobs(), OUTCOMES, POLICIES, SECONDS, SPREADS)
def test_what_waits_ends_its_wait_before_the_deadline_and_has_an_attempt_left(
    job: Job, outcome: Outcome, policy: RetryPolicy, elapsed: float, spread: float
) -> None:
    settlement = settle(job, outcome, policy, elapsed=elapsed, spread=spread)
    if settlement.delay is not None:
        assert settlement.delay < job.seconds_left - elapsed
    if settlement.status not in FINAL:
        assert job.attempt + settlement.attempt_step < job.max_attempts + settlement.allowance


@given(jobs(), OUTCOMES, POLICIES, SECONDS, SPREADS)
def test_the_same_question_has_the_same_answer(
    job: Job, outcome: Outcome, policy: RetryPolicy, elapsed: float, spread: float
) -> None:
    first, second = (settle(job, outcome, policy, elapsed=elapsed, spread=spread) for _ in range(2))
    assert first == second


# each outcome


def test_an_image_completes_the_job_even_after_its_deadline() -> None:
    settlement = decide(Completed({"images": []}), elapsed=DAY + 1)
    assert (settlement.outcome, settlement.status, settlement.result) == ("completed", "completed", {"images": []})


def test_a_cancelled_attempt_cancels_the_job() -> None:
    assert decide(Cancelled()) == Settlement("cancelled", "cancelled")


def test_a_released_job_is_pending_at_once() -> None:
    assert decide(Released()) == Settlement("released", "pending")


def test_blocked_content_fails_at_once() -> None:
    settlement = decide(Blocked(ContentBlocked("SAFETY")))
    assert (settlement.outcome, settlement.status) == ("blocked", "failed")
    assert (settlement.error_code, settlement.error_message) == ("content_blocked", "SAFETY")


def test_an_error_that_another_attempt_cannot_mend_fails_at_once() -> None:
    settlement = decide(Failed(InvalidPayload("prompt: Field required")))
    assert (settlement.status, settlement.error_code) == ("failed", "invalid_payload")
    assert settlement.error_message == "prompt: Field required"


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10), (2, 20), (3, 40)])
def test_a_failure_is_tried_again_later_and_later(attempt: int, delay: float) -> None:
    settlement = decide(UNAVAILABLE, attempt=attempt)
    assert (settlement.outcome, settlement.status, settlement.delay) == ("failed", "scheduled", delay)
    assert (settlement.error_code, settlement.error_message) == ("provider_unavailable", "503")


def test_the_last_attempt_fails_the_job_with_its_own_error() -> None:
    settlement = decide(UNAVAILABLE, attempt=4)
    assert (settlement.status, settlement.error_code) == ("failed", "provider_unavailable")


@pytest.mark.parametrize(("seconds_left", "elapsed"), [(10, 0), (110, 100), (-5, 0)])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, LOST])
def test_a_job_whose_next_attempt_would_come_too_late_fails_now(
    outcome: Outcome, seconds_left: float, elapsed: float
) -> None:
    settlement = decide(outcome, seconds_left=seconds_left, elapsed=elapsed)
    assert (settlement.status, settlement.error_code) == ("failed", "deadline_exceeded")


def test_a_job_whose_next_attempt_would_come_just_in_time_has_it() -> None:
    assert decide(UNAVAILABLE, seconds_left=10.1).status == "scheduled"


def test_the_last_error_is_told_when_the_deadline_is_missed() -> None:
    assert "503" in (decide(UNAVAILABLE, seconds_left=1).error_message or "")


def test_a_rate_limited_job_waits_as_long_as_the_provider_asked() -> None:
    settlement = decide(LIMITED)
    assert (settlement.outcome, settlement.status, settlement.delay) == ("rate_limited", "rate_limited", 30)
    assert settlement.error_code == "rate_limited"


def test_a_rate_limit_uses_up_no_attempt_even_on_the_last_one() -> None:
    settlement = decide(LIMITED, attempt=4)
    assert (settlement.status, settlement.attempt_step) == ("rate_limited", -1)


@pytest.mark.parametrize(("waits", "status"), [(4, "rate_limited"), (5, "failed"), (6, "failed")])
def test_a_job_waits_for_a_limit_so_many_times_only(waits: int, status: str) -> None:
    settlement = decide(LIMITED, waits=waits)
    assert (settlement.outcome, settlement.status) == ("rate_limited", status)
    assert settlement.error_code == "rate_limited"


def test_a_wait_past_the_deadline_fails_the_job_now() -> None:
    settlement = decide(LIMITED, seconds_left=29)
    assert (settlement.outcome, settlement.status) == ("rate_limited", "failed")
    assert settlement.error_code == "deadline_exceeded"


@pytest.mark.parametrize("wait", [float("inf"), 1e300])
def test_a_wait_without_end_fails_the_job_now(wait: float) -> None:
    assert decide(RateLimited(ProviderLimited(wait=wait))).error_code == "deadline_exceeded"


@pytest.mark.parametrize(("crash", "code"), [(LOST, "worker_lost"), (HUNG, "attempt_timeout")])
def test_a_crash_is_tried_again_and_named(crash: Crashed, code: str) -> None:
    settlement = decide(crash)
    assert (settlement.outcome, settlement.status, settlement.delay) == ("crashed", "scheduled", 10)
    assert settlement.error_code == code
    assert "worker-1" in (settlement.error_message or "")


@pytest.mark.parametrize(("crashes", "status"), [(0, "scheduled"), (1, "scheduled"), (2, "failed"), (3, "failed")])
def test_the_third_crash_fails_the_job(crashes: int, status: str) -> None:
    settlement = decide(LOST, crashes=crashes, attempt=crashes + 1, max_attempts=10)
    assert settlement.status == status
    assert settlement.error_code == ("too_many_crashes" if status == "failed" else "worker_lost")


def test_a_crash_of_the_last_attempt_fails_the_job() -> None:
    settlement = decide(LOST, attempt=4)
    assert (settlement.status, settlement.error_code, settlement.crash_step) == ("failed", "worker_lost", 1)


def test_a_crash_waits_by_its_own_count() -> None:
    assert decide(LOST, crashes=1, attempt=3).delay == 20


@pytest.mark.parametrize("error", [AttemptTimedOut(), InternalError("KeyError in the worker")])
def test_a_fault_of_ours_is_worth_another_attempt(error: AttemptTimedOut | InternalError) -> None:
    assert decide(Failed(error)).status == "scheduled"


# an image that is kept

KEPT = Failed(StorageUnavailable("503 SlowDown", kept=True))


@pytest.mark.parametrize("attempt", [1, 4, 50])
def test_an_image_that_is_kept_uses_up_no_attempt(attempt: int) -> None:
    settled = settle(a_job(attempt=attempt, max_attempts=max(attempt, 4)), KEPT, POLICY, elapsed=0, spread=0)
    assert (settled.status, settled.allowance, settled.attempt_step, settled.wait_step) == ("scheduled", 1, 0, 0)


def test_an_image_that_is_not_kept_uses_up_attempts() -> None:
    lost = Failed(StorageUnavailable("503 SlowDown"))
    assert settle(a_job(attempt=4), lost, POLICY, elapsed=0, spread=0).status == "failed"
    assert settle(a_job(attempt=3), lost, POLICY, elapsed=0, spread=0).allowance == 0


@given(
    policy=POLICIES,
    seconds_left=st.floats(1, 30 * DAY),
    each=st.floats(0, 30),
    spread=SPREADS,
)
def test_a_kept_image_is_tried_until_the_deadline_however_long_the_storage_is_away(
    policy: RetryPolicy, seconds_left: float, each: float, spread: float
) -> None:
    """The table allows a hundred attempts: they must neither be more nor be over too soon."""
    job, left = a_job(), seconds_left
    while True:
        settled = settle(job._replace(seconds_left=left), KEPT, policy, elapsed=0, spread=spread)
        if settled.status == "failed":
            break
        assert settled.delay is not None
        assert 0 <= settled.delay < left
        job = job._replace(attempt=job.attempt + 1, max_attempts=job.max_attempts + settled.allowance)
        assert job.attempt <= job.max_attempts <= 100
        left -= settled.delay + each
    assert left <= max(1.0, seconds_left / 10)


def test_the_last_of_a_hundred_attempts_is_the_last() -> None:
    settled = settle(a_job(attempt=100, max_attempts=100), KEPT, POLICY, elapsed=0, spread=0)
    assert (settled.status, settled.error_code) == ("failed", "storage_unavailable")


def test_a_kept_image_whose_deadline_has_come_is_given_up() -> None:
    settled = settle(a_job(seconds_left=60), KEPT, POLICY, elapsed=59.5, spread=0)
    assert (settled.status, settled.error_code) == ("failed", "deadline_exceeded")
