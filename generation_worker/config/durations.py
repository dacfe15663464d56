"""Durations as people write them: 500ms, 30s, 5m, 1h, 90d, 1h30m. Inside, always float seconds."""

from __future__ import annotations

import math
import re

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def is_plain_number(text: str) -> bool:
    """Whether ``text`` is a number without a unit."""
    return _PLAIN.fullmatch(text) is not None


def parse_duration(value: object) -> float:
    """``value`` in seconds: text with units, or a plain number, which is seconds.

    Raises ValueError if it is neither, negative or not finite.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("is not a duration such as 500ms, 30s, 5m or 1h")
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if is_plain_number(text):
        return float(text)
    if _WHOLE.fullmatch(text) is None:
        return None
    return sum(float(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text)) / 1000


def format_duration(seconds: float) -> str:
    """``seconds`` in the largest unit that holds them in whole numbers; ``parse_duration`` reads it back."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % _MILLISECONDS[unit] == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
