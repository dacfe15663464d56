"""Tasks that one worker of the fleet does now and then. Nobody leads: whoever finds a task due does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generation_worker.events import Events
from generation_worker.ports import Store, StoreUnavailable
from generation_worker.worker.loop import Loop


@dataclass(frozen=True, slots=True)
class Task:
    """``run`` is bounded and may be done twice; ``every`` is seconds between two runs in the whole fleet."""

    name: str
    every: float
    run: Callable[[], None]


class Maintenance:
    def __init__(self, store: Store, tasks: Sequence[Task], events: Events, *, name: str = "maintenance") -> None:
        self._store = store
        self._tasks = tasks
        self._events = events
        self.loop = Loop(name, self.step, events)

    def step(self) -> float:
        for task in self._tasks:
            if self._store.claim_task(task.name, every=task.every):
                self._do(task)
        return min(task.every for task in self._tasks) / 2

    def _do(self, task: Task) -> None:
        try:
            task.run()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one task must not keep the others from being done
            self._events.emit("maintenance.failed", task=task.name, exc_info=error)
            self._store.finish_task(task.name, error=repr(error)[:500])
        else:
            self._store.finish_task(task.name, error=None)
