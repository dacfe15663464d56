"""The same change to many jobs: a filter chooses them, then each is changed in a transaction of its own.

So no lock is held for long, a refusal for one job does not affect the others, and a run that is stopped half-way has
changed some jobs completely and the others not at all.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

from generation_worker.db.audit_trail import Author, check_reason
from generation_worker.db.jobs import cancel_job, release_job, replay_job
from generation_worker.db.query import Queries
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.refusals import InvalidRequest, RequestRefused

ActionName = Literal["cancel", "release", "replay"]

PAGE = 500
"""How many ids are read at once."""
REQUEST_SECONDS = 2.5
"""How long ``apply_for_request`` works: a client must not wait longer for its response."""
FIRST = UUID(int=0)
WAITING = ("pending", "scheduled", "rate_limited")


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that a job must meet; None is no condition. ``older`` is seconds since the claim, else the enqueue."""

    status: str | None = None
    kind: str | None = None
    provider: str | None = None
    user: str | None = None
    batch: UUID | None = None
    worker: str | None = None
    code: str | None = None
    older: float | None = None


class Action(NamedTuple):
    """A change. Without a status in the filter it applies to jobs in a status of ``default``.

    Statuses in ``on_request`` must be named, because the change costs something there: a running job is paid for again,
    and the user of a cancelled one did not want its image.
    """

    default: tuple[str, ...]
    on_request: tuple[str, ...]
    run: Callable[..., Any]


ACTIONS: dict[ActionName, Action] = {
    "cancel": Action((*WAITING, "processing"), (), cancel_job),
    "release": Action(("scheduled", "rate_limited"), ("processing",), release_job),
    "replay": Action(("failed",), ("cancelled",), replay_job),
}


class BulkResult(NamedTuple):
    """One chosen job with the result of the change, or with the refusal."""

    id: UUID
    result: Any
    refused: RequestRefused | InvalidPayload | None = None


class JobIdRow(NamedTuple):
    id: UUID


class StatusCount(NamedTuple):
    status: str
    jobs: int


def count_jobs(queries: Queries, action: ActionName, chosen: Filter) -> dict[str, int]:
    """How many jobs of each status ``apply`` would change now. Unbounded: the number must be right.

    Raises InvalidRequest as ``apply`` does.
    """
    conditions = _conditions(action, chosen)
    return {row.status: row.jobs for row in queries.all(StatusCount, "count_chosen_jobs", **conditions)}


def choose_jobs(queries: Queries, action: ActionName, chosen: Filter, *, after: UUID = FIRST) -> Iterator[UUID]:
    """The jobs that ``apply`` would change, in the order of their ids. Raises InvalidRequest as ``apply`` does."""
    conditions = _conditions(action, chosen)
    while page := queries.all(JobIdRow, "chosen_jobs", after=after, limit=PAGE, **conditions):
        for row in page:
            yield row.id
        after = page[-1].id


def apply(
    queries: Queries, action: ActionName, chosen: Filter, *, by: Author, after: UUID = FIRST
) -> Iterator[BulkResult]:
    """Change the chosen jobs one by one, and yield the result of each. Needs connections in autocommit mode.

    Raises InvalidRequest for a filter without a condition, which is more often a mistake than an intention, and for a
    status to which the action cannot be applied.
    """
    check_reason(by)
    run = ACTIONS[action].run
    for job_id in choose_jobs(queries, action, chosen, after=after):
        try:
            yield BulkResult(job_id, run(queries, job_id, by=by))
        except (RequestRefused, InvalidPayload) as error:
            yield BulkResult(job_id, None, error)


def apply_for_request(
    queries: Queries, action: ActionName, chosen: Filter, *, by: Author, after: UUID | None = None
) -> tuple[list[BulkResult], UUID | None]:
    """Apply the change for REQUEST_SECONDS; the results, and the ``after`` of the next call if jobs may be left.

    Raises InvalidRequest as ``apply`` does.
    """
    until = time.monotonic() + REQUEST_SECONDS
    results: list[BulkResult] = []
    for result in apply(queries, action, chosen, by=by, after=after or FIRST):
        results.append(result)
        if time.monotonic() >= until:
            return results, result.id
    return results, None


def _conditions(action: ActionName, chosen: Filter) -> dict[str, Any]:
    """The parameters of the two statements."""
    return {**asdict(chosen), "action": action, "statuses": _statuses(action, chosen)}


def _statuses(action: ActionName, chosen: Filter) -> list[str]:
    if chosen == Filter():
        raise InvalidRequest(
            "filter: nothing is chosen", "Name a status, kind, provider, user, batch, worker, error code or an age."
        )
    default, on_request, _ = ACTIONS[action]
    if chosen.status is None:
        return list((default + on_request) if chosen.worker is not None else default)
    if chosen.status not in default + on_request:
        raise InvalidRequest(
            f"filter.status: jobs that are {chosen.status!r} are not to {action}",
            f"Choose {', '.join(default + on_request)}.",
        )
    return [chosen.status]
