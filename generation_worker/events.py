"""Events: each thing that happens is emitted once, and logs, metrics, traces, the demo and tests subscribe to it."""

import logging
from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]

log = logging.getLogger(__name__)


class Events:
    """Calls every listener with each event, in the thread that emits it, so listeners must be quick.

    An error of a listener affects neither the other listeners nor the emitter: the first one is logged.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._failed: set[Listener] = set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Attach a listener. Returns a function that detaches it."""
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
                self._log_first(listener, name, error)

    def _log_first(self, listener: Listener, name: str, error: Exception) -> None:
        if listener not in self._failed:
            self._failed.add(listener)
            log.error("a listener failed at %s; its later errors are not logged", name, exc_info=error)
