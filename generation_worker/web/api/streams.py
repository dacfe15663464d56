"""Server-sent events over HTTP: the changes of a job, of a batch, of a user's jobs."""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, TypeVar
from uuid import UUID

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from generation_worker.db.enqueue import job_not_found
from generation_worker.db.jobs import queue_position
from generation_worker.db.query import Queries, Row
from generation_worker.db.streams import StreamStart, start_batch_stream, start_job_stream, start_user_stream
from generation_worker.domain.job import FINAL
from generation_worker.ports import Storage
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.api.job_models import job_event
from generation_worker.web.api.stream_reader import Stream, Streams, StreamUpdate

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent: proxies cut idle connections."""
RETRY = 3_000
"""Milliseconds after which an interrupted client connects again."""
CHUNK = 20
"""Jobs that are sent in one piece."""
SEND_TIMEOUT = 60.0
"""Seconds within which a client must read what it is sent."""
END = "end"
"""The id, and the kind, of the last event of a stream."""
HEADERS = {"Cache-Control": "no-cache, no-store, no-transform", "X-Accel-Buffering": "no"}
"""Proxies must neither store, nor compress, nor buffer it."""

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
ENDLESS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`job`: a job in its new state. `end`: the last event. Comments keep the connection open.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    },
    **problems.documented(401, 403, 404, 422, 429, 503),
}
ENDING: dict[int | str, dict[str, Any]] = {
    **ENDLESS,
    204: {"description": "The stream had ended; an EventSource does not connect again."},
}
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=100, description="Where an interrupted stream is to continue."),
]
_HORIZON = re.compile(r"\d{1,18}", re.ASCII)

OpenStreams = Annotated[Streams, app.part("streams")]
ImageStorage = Annotated[Storage, app.part("storage")]
T = TypeVar("T")


class EventStream(StreamingResponse):
    """Sends the updates of ``stream`` until the client disconnects.

    While it waits, it holds no thread and no connection to the database.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, streams: Streams, to_json: Callable[[Row], str]) -> None:
        """``to_json`` may take a while for a job with a result; then it is called in a thread."""
        self._stream = stream
        self._streams = streams
        self._to_json = to_json
        super().__init__(self._pieces(), headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, partial(_send_in_time, send))
        except TimeoutError:
            return  # the client does not read: the server drops the connection of an answer that is not complete
        finally:
            self._streams.remove(self._stream)

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield format_sse_event(retry=RETRY)
        while not self._stream.closed:
            update = self._stream.next_update()
            if update is not None:
                async for piece in self._events(update):
                    yield piece
                if update.end:
                    return
            elif not await self._stream.wait(HEARTBEAT):
                yield KEEPALIVE_COMMENT

    async def _events(self, update: StreamUpdate) -> AsyncIterator[bytes]:
        """A few jobs at a time: what a slow client has not read is not kept here twice. Only the last event has an id:
        a client that was interrupted before it has not received them all.
        """
        for start in range(0, len(update.rows), CHUNK):
            rows = update.rows[start : start + CHUNK]
            texts = await self._texts(rows)
            ids: list[str | None] = [None] * len(rows)
            if start + CHUNK >= len(update.rows):
                ids[-1] = str(update.horizon)
            yield b"".join(
                format_sse_event(event="job", data_str=data, id=each) for data, each in zip(texts, ids, strict=True)
            )
        if update.end:
            yield format_sse_event(event=END, data_str=f'{{"reason":"{update.end}"}}', id=END)

    async def _texts(self, rows: list[Row]) -> list[str]:
        """Links to images may take a while to make."""
        if any(row["result"] for row in rows):
            return await anyio.to_thread.run_sync(self._texts_now, rows)
        return self._texts_now(rows)

    def _texts_now(self, rows: list[Row]) -> list[str]:
        return [self._to_json(row) for row in rows]


router = APIRouter(tags=["jobs"], route_class=auth.GuardedRoute)


@router.get(requests.JOBS + "/{job_id}/events", status_code=200, response_class=EventStream, responses=ENDING)
async def job_events(
    request: Request,
    caller: Annotated[auth.Caller, auth.needs("read")],
    job_id: UUID,
    queries: app.Database,
    streams: OpenStreams,
    storage: ImageStorage,
    last_event_id: LastEventId = None,
) -> Response:
    """The changes of a job: first its state, then each change, until it has ended."""
    streams.check_room(caller.name)
    start = await _in_thread(_start_with_position, queries, job_id, caller.user_id, _horizon(last_event_id))
    if not start.jobs:
        raise job_not_found(job_id)
    if _has_received_end(last_event_id, start):
        return Response(status_code=204)
    return _opened(request, streams, storage, Stream(caller.name, start, positions=True))


@router.get(requests.BATCHES + "/{batch_id}/events", status_code=200, response_class=EventStream, responses=ENDING)
async def batch_events(
    request: Request,
    caller: Annotated[auth.Caller, auth.needs("read")],
    batch_id: UUID,
    queries: app.Database,
    streams: OpenStreams,
    storage: ImageStorage,
    last_event_id: LastEventId = None,
) -> Response:
    """The changes of the jobs of a batch, until all have ended."""
    streams.check_room(caller.name)
    start = await _in_thread(start_batch_stream, queries, batch_id, caller.user_id, _horizon(last_event_id))
    if not start.jobs:
        raise problems.Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
    if _has_received_end(last_event_id, start):
        return Response(status_code=204)
    return _opened(request, streams, storage, Stream(caller.name, start))


@router.get(requests.EVENTS, status_code=200, response_class=EventStream, responses=ENDLESS)
async def user_events(
    request: Request,
    caller: Annotated[auth.Caller, auth.needs("read")],
    queries: app.Database,
    streams: OpenStreams,
    storage: ImageStorage,
    user_id: Annotated[requests.UserId | None, Query(description="May be left out with a key of one user.")] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """The changes of a user's jobs: first those that wait or run, then each change, and each new job.

    It does not end. Of a user with very many waiting jobs it begins with those whose turn is next.
    """
    user = caller.acting_for(user_id)
    if user is None:
        raise problems.Problem(
            422, "invalid_request", "user_id: name the user, or use a key of one user", field="query.user_id"
        )
    streams.check_room(caller.name)
    start = await _in_thread(start_user_stream, queries, user, _horizon(last_event_id))
    return _opened(request, streams, storage, Stream(caller.name, start, user=user))


def _start_with_position(queries: Queries, job_id: UUID, user: str | None, horizon: int | None) -> StreamStart:
    start = start_job_stream(queries, job_id, user, horizon)
    jobs = {
        job: {**row, "queue_position": queue_position(queries, job) if row["status"] == "pending" else None}
        for job, row in start.jobs.items()
    }
    return start._replace(jobs=jobs)


def _opened(request: Request, streams: Streams, storage: Storage, stream: Stream) -> EventStream:
    if not stream.over:
        streams.add(stream)
    links = requests.Links(request)
    return EventStream(stream, streams, lambda row: job_event(row, links, storage).model_dump_json())


def _has_received_end(last_event_id: str | None, start: StreamStart) -> bool:
    """Then 204: an EventSource connects again after every end, unless the answer is 204."""
    return last_event_id == END and all(row["status"] in FINAL for row in start.jobs.values())


def _horizon(last_event_id: str | None) -> int | None:
    """None: begin anew, as with an id that is none of ours."""
    return int(last_event_id) if last_event_id and _HORIZON.fullmatch(last_event_id) else None


async def _in_thread(function: Callable[..., T], *values: Any) -> T:
    """A database query, off the event loop's thread."""
    return await anyio.to_thread.run_sync(partial(function, *values))


async def _send_in_time(send: Send, message: Message) -> None:
    with anyio.fail_after(SEND_TIMEOUT):
        await send(message)
