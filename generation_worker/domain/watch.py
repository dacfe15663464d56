"""What is seen of jobs that somebody watches, and from where on it is looked at again without a loss."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

Row = Mapping[str, Any]


class Since(NamedTuple):
    """A look at the database, as a place to go on from.

    What transactions before ``horizon`` have written could be seen; what any other has written perhaps not yet.
    A time alone would not do: a row bears the time at which it was written, and may be committed long after that.
    """

    horizon: int
    """The number of the oldest transaction that was under way."""
    at: datetime

    def earlier(self, other: Since | None) -> Since:
        return self if other is None else Since(min(self.horizon, other.horizon), min(self.at, other.at))


class Reading(NamedTuple):
    """What one look has found."""

    since: Since
    rows: Mapping[UUID, Row]
    """Jobs that may have changed. ``place`` is how many go before a pending one, where that was looked at."""
    gone: frozenset[UUID] = frozenset()
    """Jobs that are not there any more."""


class Opening(NamedTuple):
    """The jobs of a stream that begins."""

    since: Since
    rows: Mapping[UUID, Row]
    news: frozenset[UUID]
    """Those that have to be told of: all, or those that may have changed since the stream was cut."""
