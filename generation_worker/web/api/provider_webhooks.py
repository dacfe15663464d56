"""Webhooks of providers: a signed notice comes in, and whoever waits for that call is told. That is all.

Anybody may send here. So a body is bounded in size, time and number before it is read, and its signature is verified
before anything in it is believed. None of this happens in the event loop, nor in the threads that answer other routes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request

from generation_worker.domain.webhook import Notice, NoticeRefused, SignatureInvalid, webhook_path
from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable, WebhookReader
from generation_worker.web.auth import open_to_all
from generation_worker.web.problems import RETRY_AFTER, Problem, documented, too_early
from generation_worker.web.requests import read_body

READ_WITHIN = 10.0
"""Seconds in which a body must be here, and in which its turn must come."""
BODIES = 4
"""How many are held at once, as each may be large."""
SEND_WITHIN = 5.0
"""Seconds to tell the fleet. Replicate wants an answer within a few, and sends again if there is none."""
COMPLAIN_EVERY = 60.0
"""Seconds between two events of one kind: whoever sends rubbish must not fill the log."""


class Inbox(Protocol):
    """Where notices go."""

    def post(self, notice: Notice) -> bool:
        """Tell who waits in this process; whether anybody does."""
        ...

    def send(self, notice: Notice) -> None:
        """Tell the fleet. Raises StoreUnavailable."""
        ...


def webhook_router(readers: Mapping[str, WebhookReader], inbox: Inbox, events: Events) -> APIRouter:
    """``POST /worker/providers/{provider}/webhook`` for each provider in ``readers``."""
    router = APIRouter(tags=["webhooks"])
    for provider, reader in readers.items():
        router.add_api_route(
            webhook_path(provider),
            open_to_all(_Receiver(provider, reader, inbox, events).receive),
            methods=["POST"],
            status_code=204,
            responses=documented(400, 401, 408, 413, 503),
            name=f"{provider}_webhook",
        )
    return router


class _Receiver:
    """One provider's route. The signature says who calls."""

    def __init__(self, provider: str, reader: WebhookReader, inbox: Inbox, events: Events) -> None:
        self._provider = provider
        self._reader = reader
        self._inbox = inbox
        self._events = events
        self._complaints = _Complaints()
        self._turns = anyio.Semaphore(BODIES)
        self._threads = anyio.CapacityLimiter(2 * BODIES)

    async def receive(self, request: Request) -> None:
        """A provider tells that a call has ended. 204 whether or not anybody waits for it."""
        try:
            notice = await self._read(request)
            woken = await self._in_thread(self._inbox.post, notice)
            await self._send(notice, woken)
        except Problem as problem:
            self._complain(problem.details.code)
            raise
        self._events.emit("webhook.received", provider=self._provider, woken=woken)

    async def _read(self, request: Request) -> Notice:
        async with self._turn():
            body = await read_body(request, self._reader.most_bytes, within=READ_WITHIN)
            try:
                return await self._in_thread(self._reader.read, request.headers, body)
            except SignatureInvalid as refused:
                raise Problem(401, refused.code, str(refused)) from None
            except NoticeRefused as refused:
                raise Problem(400, refused.code, str(refused)) from None

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        try:
            with anyio.fail_after(READ_WITHIN):
                await self._turns.acquire()
        except TimeoutError:
            busy = "Too many webhooks are coming in just now."
            raise too_early("too_busy", busy, status=503, seconds=RETRY_AFTER) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _send(self, notice: Notice, woken: bool) -> None:
        """Whoever waits may be in another process; but if it is this one, a database that is away does not matter."""
        try:
            with anyio.fail_after(SEND_WITHIN):
                await self._in_thread(self._inbox.send, notice, abandon_on_cancel=True)
        except (StoreUnavailable, TimeoutError):
            if not woken:
                away = "The workers cannot be told just now."
                raise too_early("database_unavailable", away, status=503, seconds=RETRY_AFTER) from None

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool = False) -> Any:
        return await to_thread.run_sync(call, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=self._threads)

    def _complain(self, code: str) -> None:
        if times := self._complaints.due(code):
            self._events.emit("webhook.refused", provider=self._provider, error_code=code, times=times)


class _Complaints:
    """Counts, and says when it is time to speak of it. For one thread."""

    def __init__(self) -> None:
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}

    def due(self, code: str) -> int:
        """How often it has happened since it was told; 0 if that was only just now."""
        self._untold[code] += 1
        now = time.monotonic()
        if now - self._told_at.get(code, -COMPLAIN_EVERY) < COMPLAIN_EVERY:
            return 0
        self._told_at[code] = now
        return self._untold.pop(code)
