"""Webhooks from providers: verifies a signed notice and passes it to the process that waits for the call.

Anybody may send requests here. So a body is bounded in size, time and number before it is read, and its signature is
verified before its content is used. This runs neither in the event loop nor in the threads of other routes.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request

from generation_worker.domain.webhook import Notice, NoticeRefused, SignatureInvalid, webhook_path
from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable
from generation_worker.providers.replicate import ReplicateWebhook
from generation_worker.web import app, auth, requests
from generation_worker.web.problems import RETRY_AFTER, Problem, documented, too_early
from generation_worker.worker.signals import Inbox

READ_WITHIN = 10.0
"""Seconds for a body to wait for its turn, and again to be received."""
BODIES = 4
"""How many bodies are in memory at once, because each may be large."""
SEND_WITHIN = 5.0
"""Seconds to notify the fleet. Replicate expects a response within a few, and sends again without one."""
REPORT_EVERY = 60.0
"""Seconds between two events about refusals with one code: requests that anybody sends must not fill the log."""


class WebhookReceiver:
    """Receives the notices of one provider. Their signature authenticates the caller."""

    def __init__(self, provider: str, reader: ReplicateWebhook, inbox: Inbox, events: Events) -> None:
        self._provider = provider
        self._reader = reader
        self._inbox = inbox
        self._events = events
        self._refusals = _Refusals()
        self._turns = anyio.Semaphore(BODIES)
        self._threads = anyio.CapacityLimiter(2 * BODIES)

    async def receive(self, request: Request) -> None:
        """Pass on one notice. Raises Problem."""
        try:
            notice = await self._read(request)
            woken = await self._in_thread(self._inbox.post, notice)
            await self._send(notice, woken)
        except Problem as problem:
            if times := self._refusals.count(problem.details.code):
                self._events.emit(
                    "webhook.refused", provider=self._provider, error_code=problem.details.code, times=times
                )
            raise
        self._events.emit("webhook.received", provider=self._provider, woken=woken)

    async def _read(self, request: Request) -> Notice:
        async with self._turn():
            body = await requests.read_body(request, self._reader.most_bytes, within=READ_WITHIN)
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
            busy = "Too many webhooks arrive at the moment."
            raise too_early("too_busy", busy, status=503, seconds=RETRY_AFTER) from None
        try:
            yield
        finally:
            self._turns.release()

    async def _send(self, notice: Notice, woken: bool) -> None:
        """Another process may wait for the call. If this one does, an unavailable database does not matter."""
        try:
            with anyio.fail_after(SEND_WITHIN):
                await self._in_thread(self._inbox.send, notice, abandon_on_cancel=True)
        except (StoreUnavailable, TimeoutError):
            if not woken:
                away = "The workers cannot be notified at the moment."
                raise too_early("database_unavailable", away, status=503, seconds=RETRY_AFTER) from None

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool = False) -> Any:
        return await to_thread.run_sync(call, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=self._threads)


class _Refusals:
    """Counts refusals by code, and limits how often they are reported. For one thread."""

    def __init__(self) -> None:
        self._unreported: Counter[str] = Counter()
        self._reported_at: dict[str, float] = {}

    def count(self, code: str) -> int:
        """Add one; the number since the last report if the next report is due, else 0."""
        self._unreported[code] += 1
        now = time.monotonic()
        if now - self._reported_at.get(code, -REPORT_EVERY) < REPORT_EVERY:
            return 0
        self._reported_at[code] = now
        return self._unreported.pop(code)


router = APIRouter(tags=["webhooks"])


@router.post(webhook_path("{provider}"), status_code=204, responses=documented(400, 401, 404, 408, 413, 503))
@auth.open_to_all
async def provider_webhook(
    provider: str, request: Request, receivers: Annotated[Mapping[str, WebhookReceiver], app.part("webhook_receivers")]
) -> None:
    """A provider reports that a call has ended. 204 whether or not a process waits for it."""
    receiver = receivers.get(provider)
    if receiver is None:
        raise Problem(404, "not_found", "There is nothing at this address.")
    await receiver.receive(request)
