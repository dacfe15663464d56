"""Helpers for the tests of the Gemini adapter."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from generation_worker.domain.errors import AttemptStopped, AttemptTimedOut
from generation_worker.ports import Picture
from generation_worker.providers.gemini import GeminiProvider
from tests.canaries.values import GEMINI_KEY
from tests.providers.helpers import TimedControl
from tests.simulators.gemini_bodies import MODEL
from tests.simulators.pictures import picture

KEY = GEMINI_KEY
SHORT = 0.4
"""Seconds: the timeout of calls that are meant to run into it."""


class Control(TimedControl):
    """An attempt that may go on for ``seconds``, unless it is stopped."""

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__(seconds)
        self._stop_at = float("inf")
        self._reason: type[AttemptStopped] = AttemptStopped

    def stop_in(self, seconds: float, reason: type[AttemptStopped]) -> None:
        self._stop_at, self._reason = time.monotonic() + seconds, reason

    def check(self) -> None:
        now = time.monotonic()
        if now >= self._stop_at:
            raise self._reason
        if now >= self._deadline:
            raise AttemptTimedOut

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        raise AssertionError("a call has nothing to pause for")

    def remember(self, provider_ref: str) -> None:
        raise AssertionError("Google keeps nothing that could be asked for again")


class Timed:
    """How long something took."""

    def __enter__(self) -> Timed:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._start


def make_provider(base_url: str, **changes: Any) -> GeminiProvider:
    values: dict[str, Any] = {"key": KEY, "model": MODEL, "api_version": "v1beta", "timeout": 20.0, "threads": 8}
    return GeminiProvider(base_url=base_url, **(values | changes))


def a_picture(words: str, content_type: str = "image/png") -> Picture:
    return Picture(picture(words), content_type, 64, 64)


def raised(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is, is what is tested
        return error
    raise AssertionError("no error was raised")
