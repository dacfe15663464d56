"""Estimates when a job will be done, from the pace of its lane in the last hour; and formats spans of time."""

from typing import NamedTuple


class LanePace(NamedTuple):
    """The recent pace of a lane."""

    mean_seconds: float | None
    """From the first start of a job to its image; None if no job was completed."""
    slots: int
    """Jobs that the lane's living workers run at once."""
    taken: int
    """Occupied slots, whatever their lane: lanes share the slots of a worker."""
    per_minute: int | None
    """Calls that the gates of the lane's keys permit; None without a limit."""
    shut_seconds: float
    """Until one of these gates may open; 0 if one is open."""


def seconds_until_done(position: int, pace: LanePace) -> float | None:
    """For a job with ``position`` jobs before it in its lane; None if there is no basis for an estimate."""
    if pace.mean_seconds is None or pace.slots == 0:
        return None
    a_job = max(pace.mean_seconds, 0.001)
    per_second = pace.slots / a_job
    if pace.per_minute is not None:
        per_second = min(per_second, pace.per_minute / 60)
    must_end_first = max(0, position + 1 - max(0, pace.slots - pace.taken))
    return pace.shut_seconds + must_end_first / per_second + a_job


def seconds_left(running: float, pace: LanePace) -> float | None:
    """For a job that has been running for ``running`` seconds; None if it already takes longer than the mean."""
    if pace.mean_seconds is None or running >= pace.mean_seconds:
        return None
    return pace.mean_seconds - running


def span(seconds: float) -> str:
    """A span as text, in its two largest units: 350ms, 3s, 2m 5s, 1h 12m, 3d 4h."""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.0f}ms"
    whole = round(abs(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next((n for n, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number}{unit}" for number, unit in parts[first : first + 2] if number or first == 3]
    return ("-" if seconds < 0 and whole else "") + " ".join(shown)
