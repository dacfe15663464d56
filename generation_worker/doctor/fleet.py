"""Checks of the fleet in the database, and of each provider's keys and model."""

from collections.abc import Callable, Sequence

import psycopg
from psycopg import errors

from generation_worker import __version__
from generation_worker.config import ConfigurationError, Settings
from generation_worker.config.settings import declarations
from generation_worker.db import fleet, query, webhooks
from generation_worker.doctor.check import CORRECT, Check, ReadOnlySessions, Verdicts, skipped_check, unreachable
from generation_worker.domain.estimate import span
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.ports import Checkable, Provider
from generation_worker.registrations import REGISTRATIONS, Registration, build_adapters

SHOWN = 5
NO_PROVIDER = "none"
Closing = Callable[[Callable[[], object]], object]
SHARE = 0.8
"""Of a check's time: an adapter that gives up by itself can say why."""


def fleet_checks(settings: Settings, sessions: ReadOnlySessions | None) -> list[Check]:
    if sessions is None:
        return [skipped_check("fleet", "DATABASE_URL is not set")]
    queries = query.Queries(sessions, schema=settings.database_schema)
    return [
        Check("fleet.workers", lambda: _query(lambda: judge_workers(fleet.list_workers(queries)))),
        Check("fleet.lanes", lambda: _query(lambda: judge_lanes(fleet.list_lane_fronts(queries)))),
        Check("fleet.gates", lambda: _query(lambda: judge_gates(fleet.list_gates(queries)))),
        Check("fleet.webhooks", lambda: _query(lambda: judge_endpoints(webhooks.list_endpoints(queries)))),
        Check("fleet.maintenance", lambda: _query(lambda: judge_maintenance(fleet.list_maintenance_tasks(queries)))),
    ]


def judge_workers(workers: Sequence[fleet.WorkerProcess]) -> Verdict:
    alive = [worker for worker in workers if worker.state != "silent"]
    silent = [worker for worker in workers if worker.state == "silent"]
    lost = f"; {len(silent)} fell silent within the last day, {silent[-1].id} the latest" if silent else ""
    if not alive:
        return ok(f"none is running{lost}")
    names = ", ".join(_describe_worker(worker) for worker in alive[:SHOWN]) + (", …" if len(alive) > SHOWN else "")
    stuck = [worker.id for worker in alive if worker.stuck]
    if stuck:
        return warning(f"{names}{lost}", f"Jobs of {', '.join(stuck)} outlived their timeout: look at its log")
    if {worker.version for worker in alive} != {__version__}:
        return warning(
            f"{names}; this is {__version__}{lost}",
            "While a deployment is under way all is well; otherwise bring all to one version",
        )
    return ok(f"{names}{lost}")


def judge_lanes(fronts: Sequence[fleet.LaneFront]) -> list[Verdict]:
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
        return [ok(f"each is served; {fronts[0].provider} has waited longest, {span(fronts[0].seconds)}")]
    return [ok("nothing waits")]


def judge_gates(gates: Sequence[fleet.Gate]) -> list[Verdict]:
    """A limit that is reached is normal; a breaker that is open is not."""
    broken = [gate for gate in gates if gate.state in ("open", "probing")]
    if broken:
        return [
            warning(
                f"no calls are made with key {gate.key_label}: {gate.reason}; tried again in {span(gate.seconds)}",
                f"What does providers.{gate.provider} say? When it is repaired, jobs go on by themselves",
            )
            for gate in broken
        ]
    limited = [gate.key_label for gate in gates if gate.state == "limited"]
    if limited:
        return [ok(f"{', '.join(limited)} wait for the provider's limit")]
    return [ok("calls are made with every provider's key" if gates else "no provider's key is known yet")]


def judge_endpoints(endpoints: Sequence[webhooks.Endpoint]) -> list[Verdict]:
    """A disabled endpoint gets no messages any more, and its app may not have noticed."""
    troubled = [_trouble(endpoint) for endpoint in endpoints if endpoint.state in ("disabled", "failing")]
    if troubled:
        return troubled[:SHOWN]
    return [ok(f"{len(endpoints)} endpoints, none is failing" if endpoints else "there are no endpoints")]


def judge_maintenance(tasks: Sequence[fleet.MaintenanceTask]) -> list[Verdict]:
    """Tasks that failed, and violations that the hourly check of the ledger found."""
    failed = [
        warning(
            f"{task.name} failed: {task.last_error}",
            "It is tried again by itself; if it fails each time, repair the cause",
        )
        for task in tasks
        if task.last_error
    ]
    broken = [name for task in tasks for name, rows in (task.found or {}).get("violations", {}).items() if rows]
    books = [
        fault(f"the books break a rule: {name}", "See which rows: generation-worker credits audit") for name in broken
    ]
    return [*books, *failed] or [ok("the last run of each task went well")]


def provider_checks(settings: Settings, *, limit: float, closing: Closing) -> list[Check]:
    """``limit`` is how long a check may take, in seconds; ``closing`` registers what to call at the end."""
    return [
        _check(each, settings, limit, closing)
        if each.keys(settings)
        else skipped_check(f"providers.{each.name}", _absence(each))
        for each in REGISTRATIONS
    ]


def _query(run: Callable[[], Verdicts]) -> Verdicts:
    try:
        return run()
    except (errors.UndefinedTable, errors.UndefinedColumn):
        return skipped("the tables are not there yet, see database.schema")
    except psycopg.Error as error:
        return unreachable(error, "DATABASE_URL")


def _trouble(endpoint: webhooks.Endpoint) -> Verdict:
    if endpoint.state == "disabled":
        return warning(
            f"endpoint {endpoint.id} gets no messages any more: {endpoint.reason}",
            f"When it is repaired: generation-worker webhook enable {endpoint.id}; it gets new messages only",
        )
    return warning(
        f"endpoint {endpoint.id} has been failing since {endpoint.since:%Y-%m-%d %H:%M}: {endpoint.reason}",
        "Messages are tried again for a day; after three days it is disabled",
    )


def _describe_worker(worker: fleet.WorkerProcess) -> str:
    return f"{worker.id} ({worker.version}, {worker.state}, {worker.busy} of {worker.concurrency})"


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

    def run() -> Verdicts:
        return [fault(problem, CORRECT) for problem in wrong] or [
            adapter.check(seconds=SHARE * limit) if isinstance(adapter, Checkable) else skipped("it has no check")
            for adapter in built
        ]

    return Check(f"providers.{registration.name}", run, prepare=prepare)


def _absence(registration: Registration) -> str:
    needs_a_key = any(each.secret for each in declarations().values() if each.name == registration.setting)
    return f"{registration.setting} is not set" if needs_a_key else "it is switched off"
