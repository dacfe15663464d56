"""What operators change over HTTP: pauses, the order of the line, many jobs at once, the fleet's settings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from generation_worker.db import bulk, pauses
from generation_worker.db.answers.control import FleetSetting, Pause
from generation_worker.db.bulk import ActionName, Done, Filter
from generation_worker.db.desk import Desk
from generation_worker.db.fleet_settings import change_fleet_settings
from generation_worker.db.history import Author
from generation_worker.db.insights import FAR, Insights
from generation_worker.db.operations import release_job, run_next
from generation_worker.db.reading import Lent
from generation_worker.db.wake import wake
from generation_worker.domain.pause import Extent

T = TypeVar("T")

AT_ONCE = 2.5
"""Seconds after which what is left to do is left to a later request: a connection is lent for five."""


class Place(NamedTuple):
    """Where a job stands, and what keeps it waiting all the same."""

    status: str
    queue_position: int | None
    pauses: Sequence[Pause]


class ControlDesk(Desk):
    """Each method may raise StoreUnavailable. ``by`` is who asks, ``reason`` why, for the record."""

    def pause(self, extent: Extent, *, by: str, reason: str | None) -> bool:
        """Whether it is news. Raises InvalidRequest."""
        with self._connections.connection() as connection:
            news = pauses.pause(connection, extent, by=Author(by, reason))
            _for_a_while(pauses.put_aside(connection))
        return news

    def resume(self, extent: Extent, *, by: str, reason: str | None) -> bool:
        """Whether it was paused."""
        with self._connections.connection() as connection:
            was_paused = pauses.resume(connection, extent, by=Author(by, reason))
            _for_a_while(pauses.put_aside(connection))
        return was_paused

    def pauses(self) -> list[Pause]:
        return Insights(self._connections).pauses()

    def wake(self) -> None:
        """Have every worker of the fleet look for work."""
        with self._connections.connection() as connection:
            wake(connection)

    def run_next(self, job_id: UUID, *, by: str, reason: str | None) -> Place:
        """Put a waiting job at the front of its lane. Raises JobNotFound and JobNotWaiting."""
        with self._connections.connection() as connection:
            moved = run_next(connection, job_id, by=Author(by, reason))
            position = Insights(Lent(connection)).queue_position(job_id, cap=FAR)
            return Place(moved["status"], position, pauses.pauses_of(connection, job_id))

    def release(self, job_id: UUID, *, by: str, reason: str | None) -> str | None:
        """Make a job due now, or take it from the worker that holds it, which is returned.

        Raises JobNotFound and JobNotReleasable.
        """
        with self._connections.connection() as connection:
            return release_job(connection, job_id, by=Author(by, reason)).held_by

    def count(self, action: ActionName, chosen: Mapping[str, Any]) -> dict[str, int]:
        """How many jobs of each status it would be done to now. Raises InvalidRequest."""
        with self._connections.connection() as connection:
            return bulk.count(Insights(Lent(connection)), action, Filter(**chosen))

    def carry_out(
        self, action: ActionName, chosen: Mapping[str, Any], *, after: UUID | None, by: str, reason: str | None
    ) -> tuple[list[Done], UUID | None]:
        """Do it to the jobs behind ``after``, for a while; and after which job to go on, if any may be left.

        Raises InvalidRequest.
        """
        with self._connections.connection() as connection:
            steps = bulk.carry_out(
                connection,
                Insights(Lent(connection)),
                action,
                Filter(**chosen),
                by=Author(by, reason),
                after=after or bulk.FIRST,
            )
            done, finished = _for_a_while(steps)
        return done, done[-1].id if done and not finished else None

    def settings(self) -> list[FleetSetting]:
        return Insights(self._connections).fleet_settings()

    def change_settings(self, changes: Mapping[str, Any], *, by: str, reason: str | None) -> None:
        """All of ``changes`` or none; None takes a setting back. Raises InvalidRequest, which names the setting."""
        with self._connections.connection() as connection:
            change_fleet_settings(connection, changes, by=Author(by, reason))


def _for_a_while(steps: Iterable[T]) -> tuple[list[T], bool]:
    """What was done within AT_ONCE, and whether that is all."""
    until = time.monotonic() + AT_ONCE
    done: list[T] = []
    for step in steps:
        done.append(step)
        if time.monotonic() >= until:
            return done, False
    return done, True
