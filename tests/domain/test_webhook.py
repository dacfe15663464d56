from __future__ import annotations

import pytest

from generation_worker.domain.webhook import DELAYS, LONGEST_REST, Reply, judge


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_what_is_taken_is_delivered(status: int) -> None:
    judgement = judge(Reply(status), attempts=3, spread=0.5)
    assert (judgement.status, judgement.problem, judgement.gone) == ("delivered", None, False)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, None])
def test_everything_else_is_tried_again(status: int | None) -> None:
    judgement = judge(Reply(status, None if status else "its host did not answer"), attempts=1, spread=0.5)
    assert judgement.status == "pending"
    assert judgement.delay == pytest.approx(DELAYS[0])
    assert judgement.problem
    assert str(status) in judgement.problem or status is None


def test_a_redirect_says_what_to_do() -> None:
    problem = judge(Reply(302), attempts=1, spread=0.5).problem
    assert problem is not None
    assert "redirects are not followed" in problem


def test_each_wait_is_longer_and_the_tenth_try_is_the_last() -> None:
    judgements = [judge(Reply(500), attempts=n, spread=0.5) for n in range(1, 12)]
    assert [each.status for each in judgements] == ["pending"] * 9 + ["dead"] * 2
    waits = [each.delay for each in judgements[:9]]
    assert waits == sorted(waits)
    assert 12 * 3600 < sum(waits) < 86_400


@pytest.mark.parametrize(("spread", "delay"), [(0.0, 27.0), (1.0, 33.0)])
def test_messages_that_failed_together_come_again_apart(spread: float, delay: float) -> None:
    assert judge(Reply(500), attempts=2, spread=spread).delay == pytest.approx(delay)


def test_who_is_gone_is_not_asked_again() -> None:
    judgement = judge(Reply(410), attempts=1, spread=0.5)
    assert (judgement.status, judgement.gone) == ("dead", True)


@pytest.mark.parametrize(
    ("status", "retry_after", "rest"),
    [
        (429, 60.0, 60.0),
        (503, 60.0, 60.0),
        (503, 1e9, LONGEST_REST),
        (429, -5.0, 0.0),
        (500, 60.0, None),
        (429, None, None),
    ],
)
def test_who_asks_for_time_gets_some(status: int, retry_after: float | None, rest: float | None) -> None:
    judgement = judge(Reply(status, retry_after=retry_after), attempts=1, spread=0.5)
    assert judgement.rest == rest
    assert judgement.delay == pytest.approx(max(DELAYS[0], rest or 0))


def test_even_the_last_try_may_ask_for_time() -> None:
    judgement = judge(Reply(429, retry_after=60), attempts=len(DELAYS) + 1, spread=0.5)
    assert (judgement.status, judgement.rest) == ("dead", 60)
