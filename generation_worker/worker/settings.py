"""The settings of one worker, and the reasons for its end."""

from dataclasses import dataclass, field
from enum import Enum

from generation_worker.domain.settlement import RetryPolicy
from generation_worker.ports import LimitedKey, WorkerInfo

LAST_STATEMENTS = 10.0
"""Seconds for the statements of an attempt at its end, including a wait for a lock."""


def overtime_for(*steps: float) -> float:
    """Seconds past its deadline after which an attempt's thread counts as stuck and its lease is not renewed.

    After its deadline an attempt begins nothing more, but a step that it has begun may not be interruptible: ``steps``
    are the longest times of such steps. A thread that takes longer than that will never return.
    """
    return max(steps, default=0.0) + LAST_STATEMENTS


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """All times are in seconds."""

    id: str
    version: str
    concurrency: int
    providers: tuple[str, ...]
    keys: tuple[LimitedKey, ...] = ()
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
    def info(self) -> WorkerInfo:
        return WorkerInfo(self.id, self.version, self.providers, self.concurrency, self.keys)


class Ending(Enum):
    """Why a worker ended. The process derives its exit status from it."""

    STOPPED = "stopped"
    EMPTY = "empty"
    STUCK = "stuck"
    BROKEN = "broken"
