"""When to try again: bounded, spread, and never sooner than asked."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.settlement import FIRST_WAIT_IN_SECONDS, RetryPolicy, backoff, wait_for_limit
from tests.domain.jobs import POLICIES, SPREADS

STEADY = RetryPolicy(initial_delay=5, max_delay=300, factor=2, jitter=False)
SPREAD = RetryPolicy(initial_delay=5, max_delay=300, factor=2, jitter=True)
NUMBERS = st.integers(1, 10**9)


@pytest.mark.parametrize(("number", "delay"), [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (8, 300), (10**9, 300)])
def test_backoff_doubles_up_to_the_longest_delay(number: int, delay: float) -> None:
    assert backoff(number, STEADY, spread=0.5) == delay


@pytest.mark.parametrize(("spread", "delay"), [(0, 5), (0.5, 7.5), (0.999999, 9.999995)])
def test_jitter_takes_from_half_the_delay_to_all_of_it(spread: float, delay: float) -> None:
    assert backoff(2, SPREAD, spread=spread) == pytest.approx(delay)


@given(NUMBERS, POLICIES, SPREADS)
def test_backoff_lies_between_half_and_all_of_its_bounds(number: int, policy: RetryPolicy, spread: float) -> None:
    assert policy.initial_delay / 2 <= backoff(number, policy, spread=spread) <= policy.max_delay


@given(st.integers(1, 100), POLICIES, SPREADS)
def test_backoff_never_becomes_shorter(number: int, policy: RetryPolicy, spread: float) -> None:
    assert backoff(number, policy, spread=spread) <= backoff(number + 1, policy, spread=spread)


@pytest.mark.parametrize("factor", [1e6, 1e300])
def test_a_steep_backoff_is_bounded_and_does_not_overflow(factor: float) -> None:
    assert backoff(100, RetryPolicy(factor=factor, jitter=False), spread=0) == RetryPolicy().max_delay


@given(st.floats(0, 1e9), st.integers(0, 100), SPREADS)
def test_a_wait_is_never_shorter_than_the_provider_asked_and_little_longer(
    asked: float, waits: int, spread: float
) -> None:
    wait = wait_for_limit(asked, waits, SPREAD, spread=spread)
    assert max(FIRST_WAIT_IN_SECONDS, asked) <= wait <= max(FIRST_WAIT_IN_SECONDS, asked) * 1.2


@pytest.mark.parametrize("asked", [0.0, -1.0, -1e300, float("-inf"), float("nan")])
def test_a_wait_that_makes_no_sense_is_the_shortest_one(asked: float) -> None:
    assert wait_for_limit(asked, 0, SPREAD, spread=0) == FIRST_WAIT_IN_SECONDS


def test_a_provider_that_says_nothing_is_asked_later_and_later() -> None:
    assert [wait_for_limit(None, waits, STEADY, spread=0) for waits in range(3)] == [5, 10, 20]


def test_a_wait_that_nobody_asked_for_is_not_shorter_than_the_shortest_one() -> None:
    assert wait_for_limit(None, 0, RetryPolicy(initial_delay=0.01), spread=0) == FIRST_WAIT_IN_SECONDS
