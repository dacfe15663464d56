"""Helpers for the tests of providers with an HTTP API."""

from __future__ import annotations

import time
from typing import Any

from generation_worker.ports import GenerationRequest


class TimedControl:
    """An attempt that may go on for ``seconds``. ``gate``: what the gate answers to a call that is about to leave."""

    def __init__(self, seconds: float) -> None:
        self.admitted = 0
        self.gate: Exception | None = None
        self._deadline = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def admit(self) -> None:
        self.admitted += 1
        if self.gate is not None:
            raise self.gate


def a_request(prompt: str = "a fox", **changes: Any) -> GenerationRequest:
    return GenerationRequest("0190a000-0000-7000-8000-000000000001", 1, prompt, **changes)
