"""What happens to jobs, as server-sent events: of one job, of a batch, of a user."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Protocol
from uuid import UUID

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from generation_worker.db.streams import Opening, Row
from generation_worker.domain.job import FINAL
from generation_worker.domain.refusals import JobNotFound
from generation_worker.web.api.job_models import LINK_SECONDS, job_event
from generation_worker.web.api.stream_reader import News, Streams, Watch
from generation_worker.web.auth import Caller, GuardedRoute, needs
from generation_worker.web.problems import Problem, documented
from generation_worker.web.requests import BATCHES, EVENTS, JOBS, Links, UserId

# Server-sent events on their way to a client, until it goes away.


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


EXAMPLE = """retry: 3000

event: job
data: {"id":"019a0000-0000-7000-8000-000000000000","status":"processing","attempt":1,"result":null}
id: 4711

event: job
data: {"id":"019a0000-0000-7000-8000-000000000000","status":"completed","attempt":1,"result":{"images":[{"key":"…"}]}}
id: 4712

event: end
data: {"reason":"done"}
id: end
"""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`job`: a job as it now stands. `end`: nothing more will come. Comments keep it open.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    },
    204: {"description": "The stream had ended; an EventSource comes no more."},
    **documented(401, 403, 404, 422, 429, 503),
}
ENDLESS = {status: answer for status, answer in STREAM.items() if status != 204}
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=100, description="Where a stream that was cut is to go on."),
]
_HORIZON = re.compile(r"\d{1,18}", re.ASCII)


class Openings(Protocol):
    """How streams begin. ``horizon``: where one that was cut has ended. Each method may raise StoreUnavailable."""

    def open_job(self, job_id: UUID, user: str | None, horizon: int | None) -> Opening: ...

    def open_batch(self, batch_id: UUID, user: str | None, horizon: int | None) -> Opening: ...

    def open_user(self, user: str, horizon: int | None) -> Opening: ...


class Positions(Protocol):
    def queue_position(self, job_id: UUID) -> int | None: ...


class ImageLinks(Protocol):
    def link(self, key: str, *, seconds: float) -> str | None: ...


def events_router(streams: Streams, openings: Openings, positions: Positions, storage: ImageLinks) -> APIRouter:
    router = APIRouter(tags=["jobs"], route_class=GuardedRoute)
    desk = _Desk(streams, openings, positions, storage)
    for path, route in (
        (JOBS + "/{job_id}/events", desk.job_events),
        (BATCHES + "/{batch_id}/events", desk.batch_events),
        (EVENTS, desk.user_events),
    ):
        answers = ENDLESS if path == EVENTS else STREAM
        router.add_api_route(
            path, route, methods=["GET"], status_code=200, response_class=EventStream, responses=answers
        )
    return router


class _Desk:
    def __init__(self, streams: Streams, openings: Openings, positions: Positions, storage: ImageLinks) -> None:
        self._streams = streams
        self._openings = openings
        self._positions = positions
        self._storage = storage

    async def job_events(
        self,
        request: Request,
        caller: Annotated[Caller, needs("read")],
        job_id: UUID,
        last_event_id: LastEventId = None,
    ) -> Response:
        """What happens to a job: first how it stands, then each change, until it has ended."""

        def begin() -> Opening:
            opening = self._openings.open_job(job_id, caller.user_id, _horizon(last_event_id))
            return opening._replace(rows={job: self._with_place(row) for job, row in opening.rows.items()})

        opening = await self._open(caller, begin)
        if not opening.rows:
            raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
        return self._stream(request, last_event_id, opening, partial(Watch, caller.name, opening, places=True))

    async def batch_events(
        self,
        request: Request,
        caller: Annotated[Caller, needs("read")],
        batch_id: UUID,
        last_event_id: LastEventId = None,
    ) -> Response:
        """What happens to the jobs of a batch, until all have ended."""
        opening = await self._open(
            caller, partial(self._openings.open_batch, batch_id, caller.user_id, _horizon(last_event_id))
        )
        if not opening.rows:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        return self._stream(request, last_event_id, opening, partial(Watch, caller.name, opening))

    async def user_events(
        self,
        request: Request,
        caller: Annotated[Caller, needs("read")],
        user_id: Annotated[UserId | None, Query(description="May be left out with a key of one user.")] = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        """What happens to a user's jobs: first those that wait or run, then each change, and each new job.

        It does not end. Of a user with very many waiting jobs it begins with those whose turn is next.
        """
        user = caller.acting_for(user_id)
        if user is None:
            raise Problem(
                422, "invalid_request", "user_id: name the user, or use a key of one user", field="query.user_id"
            )
        opening = await self._open(caller, partial(self._openings.open_user, user, _horizon(last_event_id)))
        return self._stream(request, None, opening, partial(Watch, caller.name, opening, user=user))

    async def _open(self, caller: Caller, begin: Callable[[], Opening]) -> Opening:
        self._streams.check_room(caller.name)
        return await anyio.to_thread.run_sync(begin)

    def _stream(
        self, request: Request, last_event_id: str | None, opening: Opening, make: Callable[[], Watch]
    ) -> Response:
        """204 to whoever has heard the end: an EventSource comes again after every end, unless it is told not to."""
        if last_event_id == END and all(row["status"] in FINAL for row in opening.rows.values()):
            return Response(status_code=204)
        watch = make()
        if not watch.over:
            self._streams.add(watch)
        links = Links(request)
        return EventStream(watch, self._streams, lambda row: self._tell(row, links))

    def _tell(self, row: Row, links: Links) -> str:
        return job_event(row, links, lambda key: self._storage.link(key, seconds=LINK_SECONDS)).model_dump_json()

    def _with_place(self, row: Row) -> Row:
        pending = row["status"] == "pending"
        return {**row, "place": self._positions.queue_position(row["id"]) if pending else None}


def _horizon(last_event_id: str | None) -> int | None:
    """None: begin anew, as with an id that is none of ours."""
    return int(last_event_id) if last_event_id and _HORIZON.fullmatch(last_event_id) else None
