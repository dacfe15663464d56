"""Spans of time in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """In its two largest units: 350ms, 3s, 2m 5s, 1h 12m, 3d 4h."""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.0f}ms"
    whole = round(abs(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next((n for n, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number}{unit}" for number, unit in parts[first : first + 2] if number or first == 3]
    return ("-" if seconds < 0 and whole else "") + " ".join(shown)
