"""Settings that may change while workers run, with their bounds, and extents that can be paused.

The settings with which a worker starts have the same bounds.
"""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

HIGHEST_CONCURRENCY = 1000
SHORTEST_POLL, LONGEST_POLL = 0.01, 3600
"""Seconds."""
HIGHEST_RATE = 30_000
"""Calls per minute."""
LIMIT = "calls_per_minute"


class FleetSetting(NamedTuple):
    """One setting of the whole fleet; pauses are settings too."""

    name: str
    value: Any
    updated_at: datetime
    updated_by: str | None


def concurrency_problem(value: Any) -> str | None:
    """Why ``value`` cannot be a number of jobs at once; None if it can."""
    return _whole(value, HIGHEST_CONCURRENCY)


def rate_problem(value: Any) -> str | None:
    """Why ``value`` cannot be a number of calls per minute; None if it can."""
    return _whole(value, HIGHEST_RATE)


def poll_problem(value: Any) -> str | None:
    """Why ``value`` cannot be the seconds between two polls; None if it can."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if number and SHORTEST_POLL <= value <= LONGEST_POLL:
        return None
    return f"must be a number of seconds from {SHORTEST_POLL} to {LONGEST_POLL}"


def _whole(value: Any, highest: int) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and 1 <= value <= highest else f"must be a whole number from 1 to {highest}"


FOLLOWED: dict[str, Callable[[Any], str | None]] = {"concurrency": concurrency_problem, "poll_interval": poll_problem}
"""Settings that running workers apply instead of those of their start, each with the check of its value."""


def problem_with(name: str, value: Any) -> str | None:
    """Why ``value`` is not allowed for a setting that workers follow, or None. Raises KeyError for another name."""
    head, _, of_what = name.partition(".")
    return rate_problem(value) if head == LIMIT and of_what else FOLLOWED[name](value)


def may_be_unset(name: str) -> bool:
    """Whether a setting of the fleet has a default, so that it can be unset."""
    head, *rest = name.split(".")
    return name in FOLLOWED or (head == "price" and len(rest) > 1) or (head == LIMIT and any(rest))


PREFIX = "paused"

What = Literal["everything", "provider", "kind", "user"]


class Extent(NamedTuple):
    """What can be paused: everything, one provider, one kind or one user. ``name`` is empty for everything."""

    what: What = "everything"
    name: str = ""

    @property
    def setting(self) -> str:
        """The name of the setting that stores the pause."""
        return f"{PREFIX}.{self.what}.{self.name}" if self.name else PREFIX

    def __str__(self) -> str:
        return f"{self.what} {self.name}" if self.name else self.what


EVERYTHING = Extent()


def extent_of(setting: str) -> Extent:
    """The extent of a pause, from the name of its setting. Raises ValueError."""
    head, _, rest = setting.partition(".")
    what, _, name = rest.partition(".")
    if head != PREFIX:
        raise ValueError(f"{setting!r} is not a pause")
    match what:
        case "":
            return EVERYTHING
        case "provider" | "kind" | "user" if name:
            return Extent(what, name)
        case _:
            raise ValueError(f"{setting!r} is not a pause")
