"""Checks the books now and then, and keeps what it found for those who ask more often than the books can be checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from generation_worker.events import Events
from generation_worker.ports import Store

TASK = "audit"

Audit = Callable[[], Mapping[str, int | None]]
"""How many rows break each invariant; None for one that could not be checked in its time. Raises StoreUnavailable."""


class Auditor:
    def __init__(self, store: Store, audit: Audit, events: Events) -> None:
        self._store = store
        self._audit = audit
        self._events = events

    def check(self) -> None:
        """Check every invariant once, and tell of those that do not hold."""
        found = self._audit()
        broken = {name: rows for name, rows in found.items() if rows}
        unchecked = [name for name, rows in found.items() if rows is None]
        self._store.save_findings(TASK, {"violations": dict(found)})
        self._events.emit("ledger.violated" if broken else "ledger.checked", broken=broken, unchecked=unchecked)
