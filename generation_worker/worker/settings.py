"""What a worker is told at its start, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from generation_worker.domain.settlement import RetryPolicy
from generation_worker.ports import Key, WorkerInfo

LAST_STATEMENTS = 10.0
"""Seconds for what an attempt says to the database at its end, with a wait for a lock."""


def overtime_for(*steps: float) -> float:
    """Seconds that an attempt may take past its deadline before its thread counts as stuck and its lease runs out.

    After its deadline an attempt begins nothing more, but what it has begun may be of a kind that nobody can interrupt:
    ``steps`` are the longest times of these. Whatever keeps a thread for longer than that will never let go of it.
    """
    return max(steps, default=0.0) + LAST_STATEMENTS


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Times in seconds."""

    id: str
    version: str
    concurrency: int
    providers: tuple[str, ...]
    keys: tuple[Key, ...] = ()
    poll_interval: float = 1.0
    idle_poll_interval: float = 5.0
    lease: float = 60.0
    timeout: float = 600.0
    overtime: float = LAST_STATEMENTS
    grace: float = 100.0
    max_attempts: int = 4
    max_stuck: int = 1
    retention: float = 0.0
    keep_uploads: float = 0.0
    cleanup_interval: float = 3600.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def card(self) -> WorkerInfo:
        return WorkerInfo(self.id, self.version, self.providers, self.concurrency, self.keys)


class Ending(Enum):
    """Why a worker ended; the process turns it into its exit status."""

    STOPPED = "stopped"
    EMPTY = "empty"
    STUCK = "stuck"
    BROKEN = "broken"
