"""All that is known of each provider, put together from the answers to several questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Request, Response

from generation_worker.domain.fleet import LIMIT, Extent
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.web.api.fleet import Ask, KnownPause
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import SharedLook, has_just_acted, render
from generation_worker.web.pages.session import PageRoute, sees


class Limit(NamedTuple):
    """Calls that a key may have in a minute, and who says so."""

    calls: int
    source: str
    setting: str | None
    """What has set it for the whole fleet; None: what the workers were started with holds."""
    by: str | None = None
    since: Any = None


class Key(NamedTuple):
    gate: Any
    limit: Limit
    calls: Sequence[Any]


class Provider(NamedTuple):
    name: str
    pause: KnownPause | None
    workers: int
    """Living ones that serve it."""
    lane: Any
    """What waits for it; None if nothing does."""
    keys: Sequence[Key]
    other_calls: Sequence[Any]
    """Calls of the last hour with keys that have no gate: without a limit, or that nobody holds any more."""
    setting: Any
    """The limit that the fleet has set for each of its keys; None if it has not."""

    @property
    def may_be_limited(self) -> bool:
        return bool(self.keys)


def providers_of(
    *,
    gates: Sequence[Any],
    calls: Sequence[Any],
    lanes: Iterable[Any],
    workers: Iterable[Any],
    pauses: Iterable[KnownPause],
    settings: Iterable[Any],
) -> list[Provider]:
    """By name. What each argument holds is the database's answer to the question of that name."""
    alive = [worker for worker in workers if worker.state != "silent"]
    by_name = {setting.name: setting for setting in settings}
    paused = {pause.name: pause for pause in pauses}
    waiting = {lane.provider: lane for lane in lanes}
    offered = {name for worker in alive for name in worker.providers}
    names = {*offered, *waiting, *(each.provider for each in (*gates, *calls))}
    return [
        Provider(
            name,
            paused.get(Extent("provider", name).setting),
            len(alive) if name == NO_PROVIDER else sum(name in worker.providers for worker in alive),
            waiting.get(name),
            [_key(gate, calls, by_name) for gate in gates if gate.provider == name],
            _without_gate(name, gates, calls),
            by_name.get(f"{LIMIT}.{name}"),
        )
        for name in sorted(names)
    ]


def limit_of(gate: Any, settings: Mapping[str, Any]) -> Limit:
    """A key's own setting goes before its provider's, and that before what workers were started with."""
    for name in (gate.key_label, gate.provider):
        if found := settings.get(f"{LIMIT}.{name}"):
            return Limit(gate.calls_per_minute, f"set for {name}", found.name, found.updated_by, found.updated_at)
    return Limit(gate.calls_per_minute, "as the workers were started", None)


def _key(gate: Any, calls: Iterable[Any], settings: Mapping[str, Any]) -> Key:
    return Key(gate, limit_of(gate, settings), [each for each in calls if each.key_label == gate.key_label])


def _without_gate(name: str, gates: Iterable[Any], calls: Iterable[Any]) -> list[Any]:
    known = {gate.key_label for gate in gates}
    return [each for each in calls if each.provider == name and each.key_label not in known]


# The upkeep of the fleet for people: what each task is for, and what is to be done about what it has found.


PURPOSES = {
    "reclaim": "takes over the jobs of workers that are gone",
    "expire": "fails jobs that waited past their deadline, with their refund",
    "hold": "puts aside what is paused, out of the way of claims",
    "prune": "deletes old final jobs, and what was kept for them",
    "sweep": "deletes stored images that belong to no job",
    "audit": "checks the books: every rule that must hold at any moment",
}


class Violation(NamedTuple):
    """A rule of the books that does not hold, or that could not be checked in its time."""

    name: str
    rows: int | None
    meaning: str


class Task(NamedTuple):
    name: str
    purpose: str
    seconds: float | None
    overdue: float
    last_error: str | None
    rules: int
    violations: Sequence[Violation]


def tasks_of(tasks: Iterable[Any], meaning: Callable[[str], str]) -> list[Task]:
    """``meaning`` says what a row that breaks a rule means, and what to do about it. Raises KeyError."""
    return [_task(task, meaning) for task in tasks]


def _task(task: Any, meaning: Callable[[str], str]) -> Task:
    found: Mapping[str, Any] = task.found or {}
    rules: Mapping[str, int | None] = found.get("violations", {})
    broken = [Violation(name, rows, _meant(name, meaning)) for name, rows in rules.items() if rows != 0]
    return Task(task.name, PURPOSES.get(task.name, ""), task.seconds, task.overdue, task.last_error, len(rules), broken)


def _meant(name: str, meaning: Callable[[str], str]) -> str:
    """A worker of another version may know other rules."""
    try:
        return meaning(name)
    except KeyError:
        return "Another version of the worker has checked this rule; look there for what it means."


# The providers and their keys: what is used of each limit, what keeps calls back, what came of them, what waits.


PROVIDERS = "/dashboard/providers"
SECONDS = 1.5
SECONDS_OF_CALLS = 6.0
"""For how long one look at the calls of the last hour serves everybody: it reads more than the others."""
MOST = 1000
MOST_GATES = 100


class ProviderQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them."""

    def gates(self, *, limit: int) -> Sequence[Any]: ...

    def workers(self, *, limit: int) -> Sequence[Any]: ...

    def lanes(self) -> Sequence[Any]: ...

    def pauses(self) -> Sequence[KnownPause]: ...

    def fleet_settings(self) -> Sequence[Any]: ...

    def calls(self) -> Sequence[Any]: ...

    def duplicate_calls(self) -> Any: ...


class Calls(NamedTuple):
    hour: Sequence[Any]
    duplicates: Any


def providers_router(ask: Ask[ProviderQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    calls = SharedLook(partial(_calls, ask), seconds=SECONDS_OF_CALLS)
    look = SharedLook(lambda: _take(ask, calls().hour), seconds=SECONDS)

    @router.get(PROVIDERS)
    def providers(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # pyright: ignore[reportUnusedFunction]
        return render(
            request,
            "providers.html",
            providers=look(anew=has_just_acted(request)),
            duplicates=calls().duplicates,
            exact=all(each.exact for each in calls().hour),
            may_operate=caller.may("operate"),
            may_change=caller.may("admin"),
        )

    return router


def _calls(ask: Ask[ProviderQuestions]) -> Calls:
    with ask() as questions:
        return Calls(questions.calls(), questions.duplicate_calls())


def _take(ask: Ask[ProviderQuestions], calls: Sequence[Any]) -> list[Provider]:
    with ask() as questions:
        return providers_of(
            gates=questions.gates(limit=MOST_GATES),
            calls=calls,
            lanes=questions.lanes(),
            workers=questions.workers(limit=MOST),
            pauses=questions.pauses(),
            settings=questions.fleet_settings(),
        )


# The processes of the fleet, what each of them does now, and the upkeep that they share.


WORKERS = "/dashboard/workers"
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
    look = SharedLook(partial(_take_worker, ask, meaning), seconds=SECONDS)

    @router.get(WORKERS)
    def workers(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # noqa: ARG001 # pyright: ignore[reportUnusedFunction]
        return render(request, "workers.html", crew=look(), most_jobs=MOST_JOBS)

    return router


def _take_worker(ask: Ask[WorkerQuestions], meaning: Callable[[str], str]) -> Crew:
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
