"""Answers about a fleet, as a test wants them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from generation_worker.db.fleet import Gate, JobCount, LaneFront, MaintenanceTask, Worker
from generation_worker.db.jobs import DuplicateCalls, Throughput

NOTHING = Throughput("hour", 0, 0, 0, 0.0, None, 0, 0, 0, True)
NO_DUPLICATES = DuplicateCalls(0, 0, 0, None)
STATUSES = ("pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled")


@dataclass
class ScriptedQuestions:
    """An empty database, but for what a test puts there. ``error`` is raised instead of an answer."""

    jobs: dict[str, int] = field(default_factory=dict[str, int])
    exact: bool = True
    lanes: list[LaneFront] = field(default_factory=list[LaneFront])
    hour: Throughput = NOTHING
    fleet: list[Worker] = field(default_factory=list[Worker])
    keys: list[Gate] = field(default_factory=list[Gate])
    duplicates: DuplicateCalls = NO_DUPLICATES
    tasks: list[MaintenanceTask] = field(default_factory=list[MaintenanceTask])
    error: Exception | None = None
    asked: int = 0

    @contextmanager
    def ask(self) -> Generator[ScriptedQuestions]:
        self.asked += 1
        if self.error:
            raise self.error
        yield self

    def count_jobs(self) -> list[Any]:
        return [JobCount(status, self.jobs.get(status, 0), self.exact) for status in STATUSES]  # pyright: ignore[reportArgumentType]

    def oldest_waiting(self) -> list[LaneFront]:
        return self.lanes

    def throughput(self, *, cap: int) -> list[Throughput]:
        return [self.hour, self.hour._replace(span="day", completed=10**6)]

    def workers(self, *, limit: int) -> list[Worker]:
        return self.fleet

    def gates(self, *, limit: int) -> list[Gate]:
        return self.keys

    def duplicate_calls(self) -> DuplicateCalls:
        return self.duplicates

    def oldest_snapshot(self) -> float:
        return 7.5

    def maintenance(self) -> list[MaintenanceTask]:
        return self.tasks
