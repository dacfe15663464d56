"""Responses with status 429, and the wait that they name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest

from generation_worker.domain.errors import JobError, ProviderLimited
from generation_worker.providers import http
from generation_worker.providers.http import daily_quota_wait, retry_wait
from tests.providers.gemini.conftest import Failed
from tests.simulators.gemini_bodies import PER_DAY, PER_MINUTE, error, quota_failure, rate_limited, retry_info
from tests.simulators.replies import html_reply, json_reply

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def limited(raised: JobError) -> ProviderLimited:
    assert type(raised) is ProviderLimited
    assert not raised.spent
    return raised


def exhausted(*details: dict[str, Any]) -> dict[str, Any]:
    return error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", details)


def test_a_limit_per_minute(failed: Failed) -> None:
    error = limited(failed(json_reply(rate_limited("34.074824224s"), 429)))
    assert (error.wait, error.scope) == (34.074824224, "minute")
    assert PER_MINUTE in error.message


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (exhausted(), {}, None),
        ({}, {}, None),
        (exhausted(retry_info("55s")), {"Retry-After": "7"}, 55.0),
        (exhausted(retry_info("soon")), {"Retry-After": "7"}, 7.0),
        (exhausted(retry_info(None)), {"Retry-After": "7"}, 7.0),
        (exhausted(retry_info({"seconds": 5})), {}, None),
        (exhausted(quota_failure(PER_MINUTE)), {"retry-after": "12"}, 12.0),
        (exhausted(retry_info("0s")), {}, 1.0),
        (exhausted(retry_info("1000000000s")), {}, 86_400.0),
    ],
)
def test_what_is_asked_for(failed: Failed, body: Any, headers: dict[str, str], wait: float | None) -> None:
    error = limited(failed(json_reply(body, 429, headers)))
    assert (error.wait, error.scope) == (wait, "minute")


def test_a_page_of_a_gateway_is_a_limit_too(failed: Failed) -> None:
    assert limited(failed(html_reply(429))).wait is None


@pytest.mark.parametrize("details", [[PER_DAY], [PER_MINUTE, PER_DAY], [f"{PER_DAY}-FreeTier"]])
def test_a_limit_per_day_lasts_until_the_next_day_whatever_delay_comes_with_it(
    failed: Failed, details: list[str]
) -> None:
    error = limited(failed(json_reply(exhausted(retry_info("47s"), quota_failure(*details)), 429)))
    assert error.scope == "day"
    assert error.wait is not None
    assert abs(error.wait - daily_quota_wait(datetime.now(UTC))) < 60


@pytest.mark.parametrize(
    ("delay", "header", "wait"),
    [
        ("34.074824224s", None, 34.074824224),
        ("3s", "9", 3.0),
        ("-3s", None, 1.0),
        ("nan", None, None),
        ("inf s", None, None),
        ("1e9s", None, None),
        ("9" * 300 + "s", None, 86_400.0),
        ("9" * 400 + "s", None, None),
        ("", "", None),
        (None, "120", 120.0),
        (None, " 2.5 ", 2.5),
        (None, "0", 1.0),
        (None, "-5", 1.0),
        (None, format_datetime(NOON + timedelta(seconds=90), usegmt=True), 90.0),
        (None, (NOON + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S"), 90.0),
        (None, format_datetime(NOON - timedelta(days=1), usegmt=True), 1.0),
        (None, "Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        (None, "Fri, 99 Foo 2026 25:61:61 GMT", None),
        (None, "Mon, 02 Nov 99999999999 12:00:00 GMT", None),
        (None, "later", None),
        (None, "١٢٠", 120.0),
    ],
)
def test_waits_are_read_and_clamped(delay: str | None, header: str | None, wait: float | None) -> None:
    assert retry_wait(delay, header, NOON) == wait


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 11, 2, 12, 0, tzinfo=UTC), 20),
        (datetime(2026, 7, 2, 12, 0, tzinfo=UTC), 19),
        (datetime(2026, 7, 2, 6, 0, tzinfo=UTC), 1),
        (datetime(2026, 3, 8, 8, 0, tzinfo=UTC), 23),
        (datetime(2026, 11, 1, 8, 0, tzinfo=UTC), 24),
        (datetime(2026, 11, 1, 7, 0, tzinfo=UTC), 24),
    ],
    ids=["winter", "summer", "just before", "the day of 23 hours", "within the day of 25", "its first hour is clamped"],
)
def test_the_next_day_begins_at_midnight_in_california(now: datetime, hours: float) -> None:
    assert daily_quota_wait(now) == hours * 3600


def test_without_a_time_zone_database_it_is_never_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    summer = datetime(2026, 7, 2, 12, 0, tzinfo=UTC)
    exact = daily_quota_wait(summer)

    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(http, "ZoneInfo", missing)
    assert daily_quota_wait(summer) == exact + 3600
    assert daily_quota_wait(NOON) == 20 * 3600
