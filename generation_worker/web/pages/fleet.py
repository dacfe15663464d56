"""The providers with their keys, calls and lanes; the workers with their jobs; and the tasks of maintenance."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Request, Response

from generation_worker.db import fleet, ledger, query
from generation_worker.db.jobs import CallsOfKey, DuplicateCalls, calls, duplicate_calls
from generation_worker.domain.fleet import LIMIT, Extent
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.web.app import Database
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, CachedQuery, has_just_acted, render
from generation_worker.web.pages.session import PageRoute, sees

PROVIDERS = f"{HOME}/providers"
WORKERS = f"{HOME}/workers"
MOST_WORKERS = 1000
MOST_GATES = 100
MOST_JOBS = 500
"""Running jobs that are shown."""
CACHE_SECONDS = 1.5
"""Open pages load again every two seconds."""
CALLS_CACHE_SECONDS = 6.0
"""The calls of the last hour are more rows than the other queries read."""

PURPOSES = {
    "reclaim": "reclaims the jobs of workers that are gone",
    "expire": "fails jobs that waited past their deadline, with a refund",
    "hold": "moves paused jobs out of the way of claims",
    "prune": "deletes old final jobs, and what was stored for them",
    "sweep": "deletes stored images that belong to no job",
    "audit": "checks the ledger: every rule that must hold at any moment",
}
"""What each task of maintenance does."""


class KeyLimit(NamedTuple):
    """Calls that a key may have in a minute, and where the number comes from."""

    calls: int
    source: str
    setting: fleet.FleetSetting | None = None
    """The setting of the fleet; None: workers were started with this limit."""


class KeyPanel(NamedTuple):
    """One key of a provider."""

    gate: fleet.Gate
    limit: KeyLimit
    calls: Sequence[CallsOfKey]


class ProviderPanel(NamedTuple):
    """Everything about one provider."""

    name: str
    pause: fleet.Pause | None
    workers: int
    """Living workers that serve it."""
    lane: fleet.Lane | None
    """None if no job waits for it."""
    keys: Sequence[KeyPanel]
    other_calls: Sequence[CallsOfKey]
    """Calls of the last hour with keys that have no gate: without a limit, or that no worker has any more."""
    setting: fleet.FleetSetting | None
    """The limit of each of its keys, if the fleet has one set."""

    @property
    def may_be_limited(self) -> bool:
        return bool(self.keys)


class LatestCalls(NamedTuple):
    hour: Sequence[CallsOfKey]
    duplicates: DuplicateCalls


class BrokenRule(NamedTuple):
    """A rule of the ledger that does not hold, or whose check took too long (``rows`` is None)."""

    name: str
    rows: int | None
    meaning: str


class TaskPanel(NamedTuple):
    """One task of maintenance."""

    name: str
    purpose: str
    seconds: float | None
    overdue: float
    last_error: str | None
    rules: int
    violations: Sequence[BrokenRule]


class WorkersPanel(NamedTuple):
    """All workers as they were at one moment."""

    living: Sequence[fleet.WorkerProcess]
    silent: Sequence[fleet.WorkerProcess]
    jobs: Mapping[str, Sequence[fleet.ProcessingJob]]
    """Running jobs by the worker that has them."""
    shown: int
    orphaned: Sequence[fleet.ProcessingJob]
    """Running jobs of workers that are silent or gone: their leases expire."""
    tasks: Sequence[TaskPanel]

    @property
    def busy(self) -> int:
        return sum(worker.busy for worker in self.living)

    @property
    def concurrency(self) -> int:
        return sum(worker.concurrency for worker in self.living)


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(PROVIDERS)
def show_providers(request: Request, caller: Annotated[Caller, sees("read")], queries: Database) -> Response:
    latest = calls_cache(queries)
    return render(
        request,
        "providers.html",
        providers=providers_cache(queries, anew=has_just_acted(request)),
        duplicates=latest.duplicates,
        exact=all(each.exact for each in latest.hour),
        may_operate=caller.may("operate"),
        may_change=caller.may("admin"),
    )


@router.get(WORKERS)
def show_workers(request: Request, _: Annotated[Caller, sees("read")], queries: Database) -> Response:
    return render(request, "workers.html", workers=workers_cache(queries), most_jobs=MOST_JOBS)


def _read_calls(queries: query.Queries) -> LatestCalls:
    with queries.read_only() as questions:
        return LatestCalls(calls(questions), duplicate_calls(questions))


def _read_providers(queries: query.Queries) -> list[ProviderPanel]:
    latest = calls_cache(queries)
    with queries.read_only() as questions:
        return provider_panels(
            gates=fleet.list_gates(questions, limit=MOST_GATES),
            calls=latest.hour,
            lanes=fleet.list_lanes(questions),
            workers=fleet.list_workers(questions, limit=MOST_WORKERS),
            pauses=fleet.list_pauses(questions),
            settings=fleet.list_settings(questions),
        )


def _read_workers(queries: query.Queries) -> WorkersPanel:
    with queries.read_only() as questions:
        workers = fleet.list_workers(questions, limit=MOST_WORKERS)
        jobs = fleet.list_processing_jobs(questions, limit=MOST_JOBS)
        tasks = fleet.list_maintenance_tasks(questions)
    living = [worker for worker in workers if worker.state != "silent"]
    by_worker: dict[str, list[fleet.ProcessingJob]] = defaultdict(list)
    for job in jobs:
        by_worker[job.worker].append(job)
    names = {worker.id for worker in living}
    return WorkersPanel(
        living,
        [worker for worker in workers if worker.state == "silent"],
        {worker.id: by_worker[worker.id] for worker in living if worker.id in by_worker},
        len(jobs),
        [job for job in jobs if job.worker not in names],
        task_panels(tasks, ledger.explain_invariant),
    )


calls_cache = CachedQuery(_read_calls, seconds=CALLS_CACHE_SECONDS)
providers_cache = CachedQuery(_read_providers, seconds=CACHE_SECONDS)
workers_cache = CachedQuery(_read_workers, seconds=CACHE_SECONDS)


def provider_panels(
    *,
    gates: Sequence[fleet.Gate],
    calls: Sequence[CallsOfKey],
    lanes: Iterable[fleet.Lane],
    workers: Iterable[fleet.WorkerProcess],
    pauses: Iterable[fleet.Pause],
    settings: Iterable[fleet.FleetSetting],
) -> list[ProviderPanel]:
    """All providers that are offered, called or waited for, by name."""
    living = [worker for worker in workers if worker.state != "silent"]
    by_name = {setting.name: setting for setting in settings}
    paused = {pause.name: pause for pause in pauses}
    waiting = {lane.provider: lane for lane in lanes}
    offered = {name for worker in living for name in worker.providers}
    names = {*offered, *waiting, *(each.provider for each in (*gates, *calls))}
    return [
        ProviderPanel(
            name,
            paused.get(Extent("provider", name).setting),
            len(living) if name == NO_PROVIDER else sum(name in worker.providers for worker in living),
            waiting.get(name),
            [_key_panel(gate, calls, by_name) for gate in gates if gate.provider == name],
            _calls_without_gate(name, gates, calls),
            by_name.get(f"{LIMIT}.{name}"),
        )
        for name in sorted(names)
    ]


def limit_of(gate: fleet.Gate, settings: Mapping[str, fleet.FleetSetting]) -> KeyLimit:
    """A setting of the key wins over that of its provider, and that over the limit that workers were started with."""
    for name in (gate.key_label, gate.provider):
        if found := settings.get(f"{LIMIT}.{name}"):
            return KeyLimit(gate.calls_per_minute, f"set for {name}", found)
    return KeyLimit(gate.calls_per_minute, "as the workers were started")


def task_panels(tasks: Iterable[fleet.MaintenanceTask], explain: Callable[[str], str]) -> list[TaskPanel]:
    """``explain`` returns what a violation of a rule means and what to do; it raises KeyError for an unknown rule."""
    return [_task_panel(task, explain) for task in tasks]


def _key_panel(gate: fleet.Gate, calls: Iterable[CallsOfKey], settings: Mapping[str, fleet.FleetSetting]) -> KeyPanel:
    return KeyPanel(gate, limit_of(gate, settings), [each for each in calls if each.key_label == gate.key_label])


def _calls_without_gate(name: str, gates: Iterable[fleet.Gate], calls: Iterable[CallsOfKey]) -> list[CallsOfKey]:
    known = {gate.key_label for gate in gates}
    return [each for each in calls if each.provider == name and each.key_label not in known]


def _task_panel(task: fleet.MaintenanceTask, explain: Callable[[str], str]) -> TaskPanel:
    rules: Mapping[str, int | None] = (task.found or {}).get("violations", {})
    broken = [BrokenRule(name, rows, _meaning(name, explain)) for name, rows in rules.items() if rows != 0]
    purpose = PURPOSES.get(task.name, "")
    return TaskPanel(task.name, purpose, task.seconds, task.overdue, task.last_error, len(rules), broken)


def _meaning(name: str, explain: Callable[[str], str]) -> str:
    """A worker of another version may check rules that this one does not know."""
    try:
        return explain(name)
    except KeyError:
        return "A worker of another version checks this rule; see that version for its meaning."
