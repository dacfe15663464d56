"""The upkeep of the fleet for people: what each task is for, and what is to be done about what it has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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
