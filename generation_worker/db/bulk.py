"""The same change to many jobs, chosen by a filter: counted first if need be, then made one job at a time.

Each job is a transaction of its own, so nothing is held for long, what is refused for one keeps none of the others,
and whoever stops half-way has done half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID

import psycopg

from generation_worker.db import fleet as pauses
from generation_worker.db.audit_trail import Author, FleetSetting, Pause, check_reason
from generation_worker.db.connections import SingleConnection
from generation_worker.db.fleet import change_fleet_settings
from generation_worker.db.insights import Insights
from generation_worker.db.jobs import cancel_job, release_job, replay_job, run_next
from generation_worker.db.query import FAR, Desk
from generation_worker.db.signals import wake
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.fleet import Extent
from generation_worker.domain.refusals import EnqueueRefused, InvalidRequest

Connection = psycopg.Connection[Any]
ActionName = Literal["cancel", "release", "replay"]

BATCH = 500
FIRST = UUID(int=0)
WAITING = ("pending", "scheduled", "rate_limited")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; what is None chooses all. ``older`` is seconds since the claim, or else since it was enqueued."""

    status: str | None = None
    kind: str | None = None
    provider: str | None = None
    user: str | None = None
    batch: UUID | None = None
    worker: str | None = None
    code: str | None = None
    older: float | None = None


class Action(NamedTuple):
    """``usual`` are the statuses of the jobs that it is done to; ``also``, those of jobs that must be asked for.

    The latter are jobs for which it costs something: what runs is paid for again, who cancelled wanted no image.
    """

    usual: tuple[str, ...]
    also: tuple[str, ...]
    run: Callable[..., Any]


ACTIONS: dict[ActionName, Action] = {
    "cancel": Action((*WAITING, "processing"), (), cancel_job),
    "release": Action(("scheduled", "rate_limited"), ("processing",), release_job),
    "replay": Action(("failed",), ("cancelled",), replay_job),
}


class Done(NamedTuple):
    """One job that was chosen, what came of it, and what was refused, if it was."""

    id: UUID
    result: Any
    refused: EnqueueRefused | InvalidPayload | None = None


def count(insights: Insights, action: ActionName, chosen: Filter) -> dict[str, int]:
    """How many jobs of each status it would be done to now. Raises InvalidRequest as ``carry_out`` does."""
    return insights.count_chosen_jobs(action=action, statuses=_statuses(action, chosen), **_values(chosen))


def choose(insights: Insights, action: ActionName, chosen: Filter, *, after: UUID = FIRST) -> Iterator[UUID]:
    """The jobs that it would be done to, in the order of their ids. Raises InvalidRequest as ``carry_out`` does."""
    statuses = _statuses(action, chosen)
    while page := insights.chosen_jobs(action=action, statuses=statuses, after=after, limit=BATCH, **_values(chosen)):
        yield from page
        after = page[-1]


def carry_out(
    connection: Connection,
    insights: Insights,
    action: ActionName,
    chosen: Filter,
    *,
    by: Author,
    after: UUID = FIRST,
) -> Iterator[Done]:
    """Do it to all of them, and say so of each. Needs a connection in autocommit mode.

    Raises InvalidRequest for a filter that chooses everything, which is a slip more often than a wish, and for one
    whose jobs it cannot be done to.
    """
    check_reason(by)
    for job_id in choose(insights, action, chosen, after=after):
        yield _do(ACTIONS[action], connection, job_id, by)


def _statuses(action: ActionName, chosen: Filter) -> list[str]:
    if chosen == Filter():
        raise InvalidRequest(
            "filter: nothing is chosen", "Name a status, kind, provider, user, batch, worker, error code or an age."
        )
    usual, also, _ = ACTIONS[action]
    if chosen.status is None:
        return list((usual + also) if chosen.worker is not None else usual)
    if chosen.status not in usual + also:
        raise InvalidRequest(
            f"filter.status: jobs that are {chosen.status!r} are not to {action}", f"Choose {', '.join(usual + also)}."
        )
    return [chosen.status]


def _values(chosen: Filter) -> dict[str, Any]:
    return {name: value for name, value in asdict(chosen).items() if name != "status"}


def _do(action: Action, connection: Connection, job_id: UUID, by: Author) -> Done:
    try:
        return Done(job_id, action.run(connection, job_id, by=by))
    except (EnqueueRefused, InvalidPayload) as error:
        return Done(job_id, None, error)


# What operators change over HTTP: pauses, the order of the line, many jobs at once, the fleet's settings.


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
            position = Insights(SingleConnection(connection)).queue_position(job_id, cap=FAR)
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
            return count(Insights(SingleConnection(connection)), action, Filter(**chosen))

    def carry_out(
        self, action: ActionName, chosen: Mapping[str, Any], *, after: UUID | None, by: str, reason: str | None
    ) -> tuple[list[Done], UUID | None]:
        """Do it to the jobs behind ``after``, for a while; and after which job to go on, if any may be left.

        Raises InvalidRequest.
        """
        with self._connections.connection() as connection:
            steps = carry_out(
                connection,
                Insights(SingleConnection(connection)),
                action,
                Filter(**chosen),
                by=Author(by, reason),
                after=after or FIRST,
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
