"""How long Google wants us to wait after a 429."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SHORTEST, LONGEST = 1.0, 86_400.0
"""Seconds. Nothing that a server says makes us hammer it, or wait for years."""
DURATION = re.compile(r"\s*(-?\d{1,300}(?:\.\d+)?)\s*s?\s*")


def wait_of(retry_delay: str | None, retry_after: str | None, now: datetime) -> float | None:
    """Seconds, by RetryInfo (``34.07s``) or else the Retry-After header (seconds or a date); None if neither says."""
    for asked in (_seconds(retry_delay), _seconds(retry_after), _until(retry_after, now)):
        if asked is not None:
            return _clamped(asked)
    return None


def next_day(now: datetime) -> float:
    """Seconds until the daily quotas begin anew: at midnight in California."""
    here = now.astimezone(_pacific())
    midnight = datetime.combine(here.date() + timedelta(days=1), time(), here.tzinfo)
    return _clamped((midnight.astimezone(UTC) - now).total_seconds())


def _pacific() -> tzinfo:
    """Without a time zone database the winter time is taken: in summer it asks an hour late, but never early."""
    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=-8))


def _seconds(text: str | None) -> float | None:
    match = DURATION.fullmatch(text or "")
    return float(match[1]) if match else None


def _until(text: str | None, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, TypeError):
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST), LONGEST)
