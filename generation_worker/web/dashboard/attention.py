"""What an operator should look at first. Each finding says what is wrong, and where to go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from generation_worker.domain.spans import span
from generation_worker.web.dashboard.links import HOME

Level = Literal["bad", "warn"]
LATE = 600.0
"""Seconds for which a task of maintenance may be due; living workers look much more often."""


class Finding(NamedTuple):
    level: Level
    text: str
    link: str


def findings(
    *,
    waiting: Iterable[Any],
    workers: Iterable[Any],
    gates: Iterable[Any],
    processing: Iterable[Any],
    endpoints: Iterable[Any],
    tasks: Sequence[Any],
    duplicates: Any,
) -> list[Finding]:
    """The bad ones first. What each argument holds is the database's answer to the question of that name."""
    found = [
        *_of_books(tasks),
        *_of_upkeep(tasks),
        *_of_workers(workers, waiting),
        *_of_gates(gates),
        *_of_leases(processing),
        *_of_endpoints(endpoints),
        *_of_duplicates(duplicates),
    ]
    return sorted(found, key=lambda finding: finding.level != "bad")


def _of_books(tasks: Iterable[Any]) -> Iterator[Finding]:
    for task in tasks:
        found: Mapping[str, Any] = task.found or {}
        violations: Mapping[str, int | None] = found.get("violations", {})
        for name, rows in violations.items():
            if rows:
                yield Finding("bad", f"The books do not hold: {name}, {rows} rows.", f"{HOME}/workers#maintenance")


def _of_upkeep(tasks: Iterable[Any]) -> Iterator[Finding]:
    for task in tasks:
        if task.last_error:
            yield Finding("warn", f"Maintenance: {task.name} failed: {task.last_error}", f"{HOME}/workers#maintenance")
        elif task.seconds is not None and task.overdue > LATE:
            text = f"Maintenance: {task.name} has been due for {span(task.overdue)}, and nobody does it."
            yield Finding("warn", text, f"{HOME}/workers#maintenance")


def _of_workers(workers: Iterable[Any], waiting: Iterable[Any]) -> Iterator[Finding]:
    alive = [worker for worker in workers if worker.state != "silent"]
    if not alive:
        yield Finding("bad", "No worker has been heard of for two minutes.", f"{HOME}/workers")
    for worker in alive:
        if worker.stuck:
            yield Finding("bad", f"{worker.id} has {worker.stuck} stuck jobs.", f"{HOME}/workers")
    for lane in waiting:
        if alive and not lane.workers:
            text = f"Jobs for {lane.provider} wait for {span(lane.seconds)}, and no worker serves it."
            yield Finding("bad", text, f"{HOME}/providers")


def _of_gates(gates: Iterable[Any]) -> Iterator[Finding]:
    for gate in gates:
        if gate.state in ("open", "probing"):
            text = f"{gate.provider}: calls with the key {gate.key_label} fail ({gate.reason or 'no reason is known'})."
            yield Finding("bad", text, f"{HOME}/providers")


def _of_leases(processing: Iterable[Any]) -> Iterator[Finding]:
    for job in processing:
        if job.lease_seconds < -120:
            text = f"The lease of a job ran out {span(-job.lease_seconds)} ago, and nobody has taken it over."
            yield Finding("bad", text, f"{HOME}/jobs/{job.id}")


def _of_endpoints(endpoints: Iterable[Any]) -> Iterator[Finding]:
    for endpoint in endpoints:
        if endpoint.state == "disabled":
            yield Finding("warn", f"A webhook is disabled: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")
        elif endpoint.state == "failing":
            yield Finding("warn", f"A webhook fails: {endpoint.reason}", f"{HOME}/webhooks/{endpoint.id}")


def _of_duplicates(duplicates: Any) -> Iterator[Finding]:
    if duplicates.jobs:
        text = f"{duplicates.calls} calls of the last day were, or may have been, paid for more than once."
        yield Finding("warn", text, f"{HOME}/jobs/{duplicates.example}")
