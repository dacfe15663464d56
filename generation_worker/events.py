"""Say what happened once, and let others listen: logs, metrics, the demo's display and tests attach here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]


class Events:
    """Hands each event to every listener, in the thread that it happened in. Listeners must be quick and not raise."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Attach a listener; the answer detaches it."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    def emit(self, name: str, **fields: Any) -> None:
        for listener in self._listeners:
            listener(name, fields)
