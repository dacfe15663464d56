"""The processes of the fleet, what each of them does now, and the upkeep that they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Request, Response

from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.look import SharedLook
from generation_worker.web.dashboard.maintenance_view import Task, tasks_of
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fleet_questions import Ask

WORKERS = "/dashboard/workers"
SECONDS = 1.5
MOST = 1000
MOST_JOBS = 500
"""Running jobs that are shown."""


class WorkerQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them."""

    def workers(self, *, limit: int) -> Sequence[Any]: ...

    def processing_jobs(self, *, limit: int) -> Sequence[Any]: ...

    def maintenance(self) -> Sequence[Any]: ...


class Crew(NamedTuple):
    """All of it as it was at one moment."""

    living: Sequence[Any]
    silent: Sequence[Any]
    jobs: Mapping[str, Sequence[Any]]
    """Running jobs by the worker that has them."""
    shown: int
    ownerless: Sequence[Any]
    """Running jobs of workers that are silent or gone: their leases run out."""
    tasks: Sequence[Task]

    @property
    def busy(self) -> int:
        return sum(worker.busy for worker in self.living)

    @property
    def concurrency(self) -> int:
        return sum(worker.concurrency for worker in self.living)


def workers_router(ask: Ask[WorkerQuestions], meaning: Callable[[str], str]) -> APIRouter:
    """``meaning`` says of a rule of the books what a row that breaks it means."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    look = SharedLook(partial(_take, ask, meaning), seconds=SECONDS)

    @router.get(WORKERS)
    def workers(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # noqa: ARG001 # pyright: ignore[reportUnusedFunction]
        return render(request, "workers.html", crew=look(), most_jobs=MOST_JOBS)

    return router


def _take(ask: Ask[WorkerQuestions], meaning: Callable[[str], str]) -> Crew:
    with ask() as questions:
        workers, jobs = questions.workers(limit=MOST), questions.processing_jobs(limit=MOST_JOBS)
        tasks = tasks_of(questions.maintenance(), meaning)
    living = [worker for worker in workers if worker.state != "silent"]
    by_worker: dict[str, list[Any]] = defaultdict(list)
    for job in jobs:
        by_worker[job.worker].append(job)
    names = {worker.id for worker in living}
    return Crew(
        living,
        [worker for worker in workers if worker.state == "silent"],
        {worker.id: by_worker[worker.id] for worker in living if worker.id in by_worker},
        len(jobs),
        [job for job in jobs if job.worker not in names],
        tasks,
    )
