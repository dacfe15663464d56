"""A few at once: what is slow or large takes no more threads and memory than it may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from generation_worker.web.problems import RETRY_AFTER, too_early

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Turns:
    """Threads of their own for ``at_once`` requests; the others wait for ``within`` seconds, then come again."""

    def __init__(self, at_once: int, *, within: float, busy: str) -> None:
        self._turns = anyio.Semaphore(at_once)
        self._threads = anyio.CapacityLimiter(at_once)
        self._within = within
        self._busy = busy

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Raises Problem (503) if none came in time."""
        try:
            with anyio.fail_after(self._within):
                await self._turns.acquire()
        except TimeoutError:
            raise too_early("too_busy", self._busy, status=503, seconds=RETRY_AFTER, remedy="Send it again.") from None
        try:
            yield
        finally:
            self._turns.release()

    async def run(self, function: Callable[[*Ts], T], *values: *Ts) -> T:
        """``function(*values)`` in a thread. To be called within a turn."""
        return await to_thread.run_sync(function, *values, limiter=self._threads)
