"""What a worker is given to work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from generation_worker.events import Events
from generation_worker.ports import Signals, Storage, Store
from generation_worker.worker.attempt import Work
from generation_worker.worker.courier import Courier
from generation_worker.worker.maintenance import Task
from generation_worker.worker.notices import Notices


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    store: Store
    heartbeat_store: Store
    """On a connection of its own, so that no other statement keeps a lease from being renewed."""
    signals: Signals | None
    """Without them the worker polls."""
    work: Work
    events: Events
    storage: Storage | None = None
    """Is swept of what nobody will ask for."""
    chores: Sequence[Task] = ()
    """Further tasks that may take their time."""
    notices: Notices = field(default_factory=Notices)
    courier: Courier | None = None
    """Without one nobody is told anything."""
