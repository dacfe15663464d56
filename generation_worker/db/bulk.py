"""The same change to many jobs, chosen by a filter: counted first if need be, then made one job at a time.

Each job is a transaction of its own, so nothing is held for long, what is refused for one keeps none of the others,
and whoever stops half-way has done half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import psycopg

from generation_worker.db.history import Author, check_reason
from generation_worker.db.insights import Insights
from generation_worker.db.operations import cancel_job, release_job, replay_job
from generation_worker.domain.errors import InvalidPayload
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
