"""Clients of event streams: as many as one likes, in one thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from tests.support.waiting import wait_until


class Event(NamedTuple):
    kind: str
    data: Any
    id: str | None
    """As it stands in this event; None if it has none."""
    at: float = 0.0
    """When it was heard, in seconds since the epoch."""


class Listener:
    """One open stream, or the answer that was given instead."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = httpx.Headers()
        self.body = b""
        """Of an answer that is no stream."""
        self.events: list[Event] = []
        self.comments = 0
        self.retry: int | None = None
        self.ended = False
        """By the server, in good order."""
        self.broken: Exception | None = None
        self.last_id: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What it was told of jobs."""
        return [event.data for event in self.events if event.kind == "job"]

    @property
    def statuses(self) -> list[str]:
        return [job["status"] for job in self.jobs]

    def wait_for(self, happened: Callable[[Self], bool], what: str) -> None:
        wait_until(lambda: happened(self), f"{what}; it heard {self.events[-5:]}, {self.broken!r}")

    def wait_for_end(self) -> None:
        self.wait_for(lambda it: it.ended, "the stream ends")

    async def listen(self, client: httpx.AsyncClient, path: str, **request: Any) -> None:
        try:
            async with client.stream("GET", path, **request) as answer:
                self.headers = answer.headers
                self.status = answer.status_code
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    await self._read(answer.aiter_lines())
                else:
                    self.body = await answer.aread()
            self.ended = True
        except (httpx.HTTPError, OSError) as error:
            self.broken = error

    async def _read(self, lines: AsyncIterator[str]) -> None:
        fields: dict[str, str] = {}
        async for line in lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                fields[name] = value
            else:
                self._take(fields)
                fields = {}

    def _take(self, fields: Mapping[str, str]) -> None:
        if "retry" in fields:
            self.retry = int(fields["retry"])
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            event = Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"), time.time())
            self.events.append(event)


class Crowd:
    """Listeners at one server. All hang up at the end of the block."""

    def __init__(self, base_url: str) -> None:
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=60, limits=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._tasks: dict[Listener, asyncio.Task[None]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in list(self._tasks):
            self.hang_up(listener)
        self._do(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self, path: str, *, wait: bool = True, **request: Any) -> Listener:
        """Open a stream; with ``wait`` come back when it has been answered."""
        listener = Listener()
        self._tasks[listener] = self._do(self._start(listener, path, request))
        if wait:
            listener.wait_for(lambda it: bool(it.status or it.broken), f"GET {path} is answered")
        return listener

    def hang_up(self, listener: Listener) -> None:
        self._do(self._stop(self._tasks.pop(listener)))

    async def _start(self, listener: Listener, path: str, request: dict[str, Any]) -> asyncio.Task[None]:
        return asyncio.create_task(listener.listen(self._client, path, **request))

    async def _stop(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)
