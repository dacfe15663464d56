"""Server-sent events on their way to a client, until it goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from generation_worker.domain.watch import Row
from generation_worker.web.streams import Streams
from generation_worker.web.watch import News, Watch

HEARTBEAT = 15.0
"""Seconds after which a quiet stream says that it is there: proxies cut connections that say nothing."""
RETRY = 3_000
"""Milliseconds after which a client that was cut comes again."""
AT_ONCE = 20
"""Jobs that are told of in one piece."""
SENT_WITHIN = 60.0
"""Seconds in which a client must take what it is sent."""
END = "end"
"""The id, and the kind, of the last event of a stream."""
HEADERS = {"Cache-Control": "no-cache, no-store, no-transform", "X-Accel-Buffering": "no"}
"""Neither kept, nor compressed, nor collected by a proxy until there is more of it."""

Tell = Callable[[Row], str]
"""A job as JSON. May take a while if there is a result: then it is not called in the thread that serves all."""


class EventStream(StreamingResponse):
    """What ``watch`` has to tell. It holds no thread and no connection to the database while it waits."""

    media_type = "text/event-stream"

    def __init__(self, watch: Watch, streams: Streams, tell: Tell) -> None:
        self._watch = watch
        self._streams = streams
        self._tell = tell
        super().__init__(self._pieces(), headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, partial(_send_in_time, send))
        except TimeoutError:
            return  # the client takes nothing: the server drops the connection of an answer that is not complete
        finally:
            self._streams.remove(self._watch)

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield format_sse_event(retry=RETRY)
        while not self._watch.closed:
            news = self._watch.news()
            if news is not None:
                async for piece in self._written(news):
                    yield piece
                if news.end:
                    return
            elif not await self._watch.wait(HEARTBEAT):
                yield KEEPALIVE_COMMENT

    async def _written(self, news: News) -> AsyncIterator[bytes]:
        """A few jobs at a time: what a slow client has not taken is not kept here twice. Only the last event has an id:
        a client that was cut before it has not heard them all.
        """
        for start in range(0, len(news.rows), AT_ONCE):
            rows = news.rows[start : start + AT_ONCE]
            told = await self._told(rows)
            ids: list[str | None] = [None] * len(rows)
            if start + AT_ONCE >= len(news.rows):
                ids[-1] = str(news.horizon)
            yield b"".join(
                format_sse_event(event="job", data_str=data, id=each) for data, each in zip(told, ids, strict=True)
            )
        if news.end:
            yield format_sse_event(event=END, data_str=f'{{"reason":"{news.end}"}}', id=END)

    async def _told(self, rows: list[Row]) -> list[str]:
        """Links to images may take a while to make."""
        if any(row["result"] for row in rows):
            return await anyio.to_thread.run_sync(self._told_now, rows)
        return self._told_now(rows)

    def _told_now(self, rows: list[Row]) -> list[str]:
        return [self._tell(row) for row in rows]


async def _send_in_time(send: Send, message: Message) -> None:
    with anyio.fail_after(SENT_WITHIN):
        await send(message)
