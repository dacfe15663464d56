"""The same change to many jobs, chosen by a filter: counted first if need be, then made one job at a time.

Each job is a transaction of its own, so nothing is held for long, what is refused for one keeps none of the others,
and whoever stops half-way has done half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from generation_worker.db.history import Author
from generation_worker.db.insights import Insights
from generation_worker.db.operations import cancel_job, release_job
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.refusals import EnqueueRefused, InvalidRequest

Connection = psycopg.Connection[Any]

BATCH = 500
FIRST = UUID(int=0)
WAITING = ("pending", "scheduled", "rate_limited")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; what is None chooses all. ``older`` is seconds since the claim, or else since it was enqueued."""

    kind: str | None = None
    provider: str | None = None
    user: str | None = None
    batch: UUID | None = None
    worker: str | None = None
    older: float | None = None


class Action(NamedTuple):
    """``statuses`` are those of the jobs that it can be done to."""

    statuses: tuple[str, ...]
    run: Callable[..., Any]


ACTIONS = {
    "cancel": Action((*WAITING, "processing"), cancel_job),
    "release": Action(("processing",), release_job),
}


class Done(NamedTuple):
    """One job that was chosen, and what was refused, if it was."""

    id: UUID
    refused: EnqueueRefused | InvalidPayload | None


def count(insights: Insights, action: str, chosen: Filter) -> int:
    """How many jobs it would be done to now. Raises InvalidRequest as ``carry_out`` does."""
    _check(chosen)
    return insights.count_chosen_jobs(statuses=ACTIONS[action].statuses, **asdict(chosen))


def carry_out(connection: Connection, insights: Insights, action: str, chosen: Filter, *, by: Author) -> Iterator[Done]:
    """Do it to all of them, and say so of each. Needs a connection in autocommit mode.

    Raises InvalidRequest for a filter that chooses everything: that is a slip more often than a wish.
    """
    _check(chosen)
    after = FIRST
    while ids := insights.chosen_jobs(statuses=ACTIONS[action].statuses, after=after, limit=BATCH, **asdict(chosen)):
        for job_id in ids:
            yield Done(job_id, _refusal(ACTIONS[action], connection, job_id, by))
        after = ids[-1]


def _check(chosen: Filter) -> None:
    if chosen == Filter():
        raise InvalidRequest("filter: nothing is chosen", "Name a kind, provider, user, batch, worker or an age.")


def _refusal(
    action: Action, connection: Connection, job_id: UUID, by: Author
) -> EnqueueRefused | InvalidPayload | None:
    try:
        action.run(connection, job_id, by=by)
    except (EnqueueRefused, InvalidPayload) as error:
        return error
    return None
