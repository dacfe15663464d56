"""The workers that are alive, and whether somebody serves what waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from psycopg import errors

from generation_worker import __version__
from generation_worker.config import ConfigurationError, Settings
from generation_worker.config.settings import declarations
from generation_worker.db.fleet import (
    Gate,
    LaneFront,
    MaintenanceTask,
    WorkerProcess,
    list_gates,
    list_lane_fronts,
    list_maintenance_tasks,
    list_workers,
)
from generation_worker.db.query import Queries
from generation_worker.db.webhooks import Endpoint, list_endpoints
from generation_worker.doctor.check import CORRECT, Check, Sessions, Verdicts, not_looked_at, unreachable
from generation_worker.domain.estimate import span
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.ports import Checkable, Provider
from generation_worker.registrations import REGISTRATIONS, Registration, build_adapters

SHOWN = 5
NO_PROVIDER = "none"


def fleet_checks(settings: Settings, sessions: Sessions | None) -> list[Check]:
    if sessions is None:
        return [not_looked_at("fleet", "DATABASE_URL is not set")]
    queries = Queries(sessions, schema=settings.database_schema)
    return [
        Check("fleet.workers", lambda: _asked(lambda: judge_workers(list_workers(queries)))),
        Check("fleet.lanes", lambda: _asked(lambda: judge_lanes(list_lane_fronts(queries)))),
        Check("fleet.gates", lambda: _asked(lambda: judge_gates(list_gates(queries)))),
        Check("fleet.webhooks", lambda: _asked(lambda: judge_endpoints(list_endpoints(queries)))),
        Check("fleet.maintenance", lambda: _asked(lambda: judge_maintenance(list_maintenance_tasks(queries)))),
    ]


def _asked(look: Callable[[], Verdicts]) -> Verdicts:
    try:
        return look()
    except (errors.UndefinedTable, errors.UndefinedColumn):
        return skipped("the tables are not there yet, see database.schema")
    except psycopg.Error as error:
        return unreachable(error, "DATABASE_URL")


def judge_workers(workers: Sequence[WorkerProcess]) -> Verdict:
    alive = [worker for worker in workers if worker.state != "silent"]
    silent = [worker for worker in workers if worker.state == "silent"]
    lost = f"; {len(silent)} fell silent within the last day, {silent[-1].id} the latest" if silent else ""
    if not alive:
        return ok(f"none is running{lost}")
    told = ", ".join(_told(worker) for worker in alive[:SHOWN]) + (", …" if len(alive) > SHOWN else "")
    stuck = [worker.id for worker in alive if worker.stuck]
    if stuck:
        return warning(f"{told}{lost}", f"Jobs of {', '.join(stuck)} outlived their timeout: look at its log")
    if {worker.version for worker in alive} != {__version__}:
        return warning(
            f"{told}; this is {__version__}{lost}",
            "While a deployment is under way all is well; otherwise bring all to one version",
        )
    return ok(f"{told}{lost}")


def judge_lanes(fronts: Sequence[LaneFront]) -> list[Verdict]:
    alone = [front for front in fronts if not front.workers]
    if alone:
        return [
            warning(
                f"jobs for {front.provider} wait since {span(front.seconds)}, and no living worker serves them",
                "Start a worker"
                + (f" that has what {front.provider} needs" if front.provider != NO_PROVIDER else "")
                + "; or replay or cancel the jobs",
            )
            for front in alone
        ]
    if fronts:
        return [ok(f"somebody serves each; {fronts[0].provider} has waited longest, {span(fronts[0].seconds)}")]
    return [ok("nothing waits")]


def judge_gates(gates: Sequence[Gate]) -> list[Verdict]:
    """A limit that is reached is how things go; a breaker that opened is not."""
    broken = [gate for gate in gates if gate.state in ("open", "probing")]
    if broken:
        return [
            warning(
                f"nothing is asked with key {gate.key_label}: {gate.reason}; tried again in {span(gate.seconds)}",
                f"What does providers.{gate.provider} say? When it is mended, jobs go on by themselves",
            )
            for gate in broken
        ]
    limited = [gate.key_label for gate in gates if gate.state == "limited"]
    if limited:
        return [ok(f"{', '.join(limited)} wait for the provider's limit")]
    return [ok("every provider's key is asked" if gates else "no provider's key is known yet")]


def judge_endpoints(endpoints: Sequence[Endpoint]) -> list[Verdict]:
    """One that is disabled hears of nothing any more, and its app may not have noticed."""
    troubled = [_trouble(endpoint) for endpoint in endpoints if endpoint.state in ("disabled", "failing")]
    if troubled:
        return troubled[:SHOWN]
    return [ok(f"{len(endpoints)} endpoints, none is failing" if endpoints else "no endpoint is to be told anything")]


def _trouble(endpoint: Endpoint) -> Verdict:
    if endpoint.state == "disabled":
        return warning(
            f"endpoint {endpoint.id} is told nothing any more: {endpoint.reason}",
            f"When it is mended: generation-worker webhook enable {endpoint.id}; what ended meanwhile is not told",
        )
    return warning(
        f"endpoint {endpoint.id} has been failing since {endpoint.since:%Y-%m-%d %H:%M}: {endpoint.reason}",
        "Messages are tried again for a day; after three days it is disabled",
    )


def judge_maintenance(tasks: Sequence[MaintenanceTask]) -> list[Verdict]:
    """What failed, and what the hourly check of the books found."""
    failed = [
        warning(
            f"{task.name} failed: {task.last_error}", "It is tried again by itself; if it fails each time, mend that"
        )
        for task in tasks
        if task.last_error
    ]
    broken = [name for task in tasks for name, rows in (task.found or {}).get("violations", {}).items() if rows]
    books = [
        fault(f"the books break a rule: {name}", "See which rows: generation-worker credits audit") for name in broken
    ]
    return [*books, *failed] or [ok("the last run of each task went well")]


def _told(worker: WorkerProcess) -> str:
    return f"{worker.id} ({worker.version}, {worker.state}, {worker.busy} of {worker.concurrency})"


# Each provider's keys, and its model.


Closing = Callable[[Callable[[], object]], object]
SHARE = 0.8
"""Of a check's time: an adapter that gives up by itself can say why."""


def provider_checks(settings: Settings, *, limit: float, closing: Closing) -> list[Check]:
    """``limit`` is how long a check may take, in seconds; ``closing`` is told what has to be called at the end."""
    return [
        _check(each, settings, limit, closing)
        if each.keys(settings)
        else not_looked_at(f"providers.{each.name}", _absence(each))
        for each in REGISTRATIONS
    ]


def _check(registration: Registration, settings: Settings, limit: float, closing: Closing) -> Check:
    built: list[Provider] = []
    wrong: list[str] = []

    def prepare() -> None:
        try:
            built.extend(build_adapters(registration, settings))
        except ConfigurationError as error:
            wrong.extend(error.problems)
        for adapter in built:
            if close := getattr(adapter, "close", None):
                closing(close)
            adapter.warm_up()

    def look() -> Verdicts:
        return [fault(problem, CORRECT) for problem in wrong] or [
            adapter.check(seconds=SHARE * limit) if isinstance(adapter, Checkable) else skipped("it has no check")
            for adapter in built
        ]

    return Check(f"providers.{registration.name}", look, prepare=prepare)


def _absence(registration: Registration) -> str:
    asks_for_a_key = any(each.secret for each in declarations().values() if each.name == registration.setting)
    return f"{registration.setting} is not set" if asks_for_a_key else "it is switched off"
