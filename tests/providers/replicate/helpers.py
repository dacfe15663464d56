"""Helpers for the tests of the Replicate adapter."""

from __future__ import annotations

import time
from typing import Any

from generation_worker.domain.errors import AttemptTimedOut
from generation_worker.ports import Generated, Picture
from generation_worker.providers.replicate import ReplicateProvider
from tests.providers.helpers import TimedControl
from tests.simulators.pictures import picture
from tests.simulators.replicate import TOKEN
from tests.simulators.replicate_bodies import MODEL

SHORT = 0.3
"""Seconds: the timeout of requests that are meant to run into it."""
NAP = 0.005
"""Seconds that a pause takes, however long it should."""


class Control(TimedControl):
    """An attempt that may go on for ``seconds``; at the pause with number ``stop_at`` it is stopped for ``reason``."""

    def __init__(self, seconds: float = 20.0, *, stop_at: int = 0, reason: type[Exception] = AttemptTimedOut) -> None:
        super().__init__(seconds)
        self._stop_at, self._reason = stop_at, reason
        self.paused: list[float] = []
        self.awake_for: list[str | None] = []
        self.remembered: list[str] = []

    def check(self) -> None:
        if self._stop_at and len(self.paused) >= self._stop_at:
            raise self._reason
        if time.monotonic() >= self._deadline:
            raise AttemptTimedOut

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        self.paused.append(seconds)
        self.awake_for.append(wake_on)
        time.sleep(NAP)
        self.check()

    def remember(self, provider_ref: str) -> None:
        self.remembered.append(provider_ref)


def make_provider(base_url: str, **changes: Any) -> ReplicateProvider:
    values: dict[str, Any] = {"token": TOKEN, "model": MODEL, "timeout": 10.0, "threads": 8}
    return ReplicateProvider(base_url=base_url, **(values | changes))


def a_picture(words: str = "in", size: int | None = None) -> Picture:
    """``size``: so many bytes, whatever they are."""
    return Picture(picture(words) if size is None else bytes(size), "image/png", 64, 64)


def fox(generated: Generated) -> bool:
    return generated.data == picture("a fox")
