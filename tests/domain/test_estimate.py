from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.estimate import LanePace, seconds_left, seconds_until_done

TEN = LanePace(mean_seconds=10, slots=5, taken=5, per_minute=None, shut_seconds=0)


@pytest.mark.parametrize(
    ("place", "pace", "expected"),
    [
        (0, TEN, 12),
        (4, TEN, 20),
        (99, TEN, 210),
        (0, TEN._replace(taken=0), 10),
        (4, TEN._replace(taken=0), 10),
        (5, TEN._replace(taken=0), 12),
        (0, TEN._replace(taken=9), 12),
        (9, TEN._replace(per_minute=6), 110),
        (9, TEN._replace(per_minute=60), 30),
        (0, TEN._replace(taken=0, shut_seconds=30), 40),
    ],
)
def test_a_job_in_line(place: int, pace: LanePace, expected: float):
    assert seconds_until_done(place, pace) == pytest.approx(expected)


def test_nothing_is_said_where_nothing_is_known():
    assert seconds_until_done(0, TEN._replace(mean_seconds=None)) is None
    assert seconds_until_done(0, TEN._replace(slots=0)) is None
    assert seconds_left(1, TEN._replace(mean_seconds=None)) is None


def test_a_job_that_runs():
    assert seconds_left(4, TEN) == 6
    assert seconds_left(11, TEN) is None


@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(0, 100), st.floats(0.01, 600))
def test_who_stands_further_back_waits_longer(place: int, slots: int, taken: int, mean: float):
    pace = LanePace(mean, slots, taken, None, 0)
    here, behind = seconds_until_done(place, pace), seconds_until_done(place + 1, pace)
    assert here is not None
    assert behind is not None
    assert mean <= here <= behind
