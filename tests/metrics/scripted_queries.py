"""Queries that answer with rows of a test instead of those of a database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from generation_worker.db.fleet import Gate, LaneFront, MaintenanceTask, WorkerProcess
from generation_worker.db.jobs import DuplicateCalls, JobCount, Throughput
from generation_worker.db.query import Queries
from generation_worker.db.server import SnapshotAge

NOTHING = Throughput("hour", 0, 0, 0, 0.0, None, 0, 0, 0, True)
NO_DUPLICATES = DuplicateCalls(0, 0, 0, None)
STATUSES = ("pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled")


@dataclass
class ScriptedQueries(Queries):
    """An empty database, but for the rows of a test. ``error`` is raised instead of an answer."""

    jobs: dict[str, int] = field(default_factory=dict[str, int])
    exact: bool = True
    lanes: list[LaneFront] = field(default_factory=list[LaneFront])
    hour: Throughput = NOTHING
    fleet: list[WorkerProcess] = field(default_factory=list[WorkerProcess])
    keys: list[Gate] = field(default_factory=list[Gate])
    duplicates: DuplicateCalls = NO_DUPLICATES
    tasks: list[MaintenanceTask] = field(default_factory=list[MaintenanceTask])
    error: Exception | None = None
    asked: int = 0

    @contextmanager
    def read_only(self, *, seconds: float = 2.0) -> Generator[ScriptedQueries]:
        self.asked += 1
        if self.error:
            raise self.error
        yield self

    def all(self, row: type[Any], statement: str, **values: Any) -> list[Any]:
        answers: dict[str, list[Any]] = {
            "count_jobs": [JobCount(status, self.jobs.get(status, 0), self.exact) for status in STATUSES],  # pyright: ignore[reportArgumentType]
            "oldest_waiting": self.lanes,
            "throughput": [self.hour, self.hour._replace(span="day", completed=10**6)],
            "workers": self.fleet,
            "gates": self.keys,
            "duplicate_calls": [self.duplicates],
            "oldest_snapshot": [SnapshotAge(7.5)],
            "maintenance": self.tasks,
        }
        return answers[statement]

    def one(self, row: type[Any], statement: str, **values: Any) -> Any:
        [found] = self.all(row, statement, **values)
        return found
