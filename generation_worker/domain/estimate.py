"""When a job will be done, if things go on as they went in the last hour."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """What a lane has been doing lately."""

    mean_seconds: float | None
    """From the first start of a job to its image; None if none was completed."""
    slots: int
    """Jobs that the lane's living workers do at once."""
    taken: int
    """Slots at work, for whichever lane: workers share theirs."""
    per_minute: int | None
    """What the gates of the lane's keys let through; None if nothing limits it."""
    shut_seconds: float
    """Until one of these gates may open; 0 if one is open."""


def seconds_until_done(place: int, pace: Pace) -> float | None:
    """For a job with ``place`` jobs before it in line; None where nothing is known to go by."""
    if pace.mean_seconds is None or pace.slots == 0:
        return None
    a_job = max(pace.mean_seconds, 0.001)
    per_second = pace.slots / a_job
    if pace.per_minute is not None:
        per_second = min(per_second, pace.per_minute / 60)
    must_end_first = max(0, place + 1 - max(0, pace.slots - pace.taken))
    return pace.shut_seconds + must_end_first / per_second + a_job


def seconds_left(held: float, pace: Pace) -> float | None:
    """For a job that has been worked on for ``held`` seconds; None if it takes longer than most."""
    if pace.mean_seconds is None or held >= pace.mean_seconds:
        return None
    return pace.mean_seconds - held


# Spans of time in words.


def span(seconds: float) -> str:
    """In its two largest units: 350ms, 3s, 2m 5s, 1h 12m, 3d 4h."""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.0f}ms"
    whole = round(abs(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next((n for n, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number}{unit}" for number, unit in parts[first : first + 2] if number or first == 3]
    return ("-" if seconds < 0 and whole else "") + " ".join(shown)
