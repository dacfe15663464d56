"""Hints between processes."""

from __future__ import annotations

from typing import Protocol


class Signals(Protocol):
    """Hints between processes, by LISTEN and NOTIFY on a connection of its own. All methods raise StoreUnavailable."""

    def open(self) -> None:
        """Connect and listen."""
        ...

    def send(self, message: str) -> None: ...

    def wait(self, seconds: float) -> list[str]:
        """The messages that came within ``seconds``; returns as soon as there is one."""
        ...

    def close(self) -> None: ...
