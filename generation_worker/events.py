"""Say what happened once, and let others listen: logs, metrics, the demo's display and tests attach here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]

log = logging.getLogger(__name__)


class Events:
    """Hands each event to every listener, in the thread that it happened in, so listeners must be quick.

    One that raises hurts neither the others nor what happened: its first error is logged.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._failed: set[Listener] = set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Attach a listener; the answer detaches it."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)
            self._failed.discard(listener)

        return unsubscribe

    def emit(self, name: str, **fields: Any) -> None:
        for listener in self._listeners:
            try:
                listener(name, fields)
            except Exception as error:  # noqa: BLE001 - a metric that cannot be counted must not cost a paid image
                self._tell_once(listener, name, error)

    def _tell_once(self, listener: Listener, name: str, error: Exception) -> None:
        if listener not in self._failed:
            self._failed.add(listener)
            log.error("a listener failed at %s; its later errors are not told", name, exc_info=error)
