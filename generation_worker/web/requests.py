"""What requests have in common: bounded bodies, types of fields, links in responses, bounded concurrency."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple, TypeVar, TypeVarTuple
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import Header, Query, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import ClientDisconnect

from generation_worker.web.problems import RETRY_AFTER, Problem, too_early

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

JOBS = "/worker/jobs"
BATCHES = "/worker/batches"
EVENTS = "/worker/events"

MOST_DEEP = 20
READ_WITHIN = 20.0
"""Seconds in which a body must arrive."""
SEND_LESS = (
    "Upload images first (POST /worker/images), and name them by their keys; or use a key that may send more: "
    "generation-worker token create --max-body, API_MAX_BODY_KB."
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{\]}]")


class BoundedRequest(Request):
    """A request whose body must be JSON of at most ``most`` bytes, and not nested too deep."""

    def __init__(self, request: Request, most: int) -> None:
        super().__init__(request.scope, request.receive)
        self._most = most

    async def body(self) -> bytes:
        if not hasattr(self, "_bounded"):
            self._bounded = await read_body(self, self._most, within=READ_WITHIN, remedy=SEND_LESS)
            if self._bounded:
                _check_json(self, self._bounded)
        return self._bounded


async def read_body(request: Request, most: int, *, within: float, remedy: str | None = None) -> bytes:
    """Read a body. Raises Problem: 413 if it is larger than ``most``, 408 if it takes too long, 400 if it is cut off.

    A body whose Content-Length is too large is not read at all; of one without that header, no more than ``most`` bytes
    are read.
    """
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > most:
        raise _too_large(most, remedy)
    body = bytearray()
    try:
        with anyio.fail_after(within):
            async for piece in request.stream():
                if len(body) + len(piece) > most:
                    raise _too_large(most, remedy)
                body += piece
    except TimeoutError:
        raise Problem(408, "body_late", f"The body did not arrive within {within:g} s.") from None
    except ClientDisconnect:
        raise Problem(400, "invalid_body", "The body was cut off.") from None
    return bytes(body)


def depth(text: bytes) -> int:
    """How deep the arrays and objects of a JSON text are nested."""
    deepest = level = 0
    for bracket in _BRACKETS.finditer(_STRING.sub(b"", text)):
        level += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _check_json(request: Request, body: bytes) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(
            415,
            "unsupported_media_type",
            "The body must be JSON.",
            field="header.content-type",
            remedy="Send Content-Type: application/json",
        )
    if depth(body) > MOST_DEEP:
        raise Problem(422, "too_deep", f"The body is nested more than {MOST_DEEP} deep.", field="body")


def _too_large(most: int, remedy: str | None) -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"The body has more than {most} bytes.",
        {"Connection": "close"},
        field="body",
        remedy=remedy,
    )


PRINTABLE = r"^[^\x00]+$"
"""The database can store any character but NUL."""

UserId = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE, examples=["ada"])]
Cursor = Annotated[str, Field(min_length=1, max_length=200, description="`next_cursor` of the previous page.")]
_IDEMPOTENCY_KEY = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=255,
    pattern=r"^[!-~]+( [!-~]+)*$",
    description="A request is done once for each key: sent again with the same key, it gets the same answer.",
    examples=["order-1000"],
)
IdempotencyKey = Annotated[str | None, _IDEMPOTENCY_KEY]
IdempotencyKeyNeeded = Annotated[str, _IDEMPOTENCY_KEY]
"""For requests that would cost money if they were done twice."""
Traceparent = Annotated[
    str | None,
    Header(
        description="The caller's span (W3C Trace Context). An invalid header is ignored, as the standard requires.",
        examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    ),
]


Reason = Annotated[
    str,
    Field(min_length=1, max_length=2000, pattern=PRINTABLE, description="Why, for the record."),
]

ForTheRecord = Annotated[Reason | None, Query(alias="reason", description="Why, for the record.")]


class RequestModel(BaseModel):
    """The base of request models: refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


def _is_text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a date and time, such as 2030-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_is_text)]


def job_path(job_id: UUID) -> str:
    return f"{JOBS}/{job_id}"


def events_path(job_id: UUID) -> str:
    """Server-sent events of a job until it ends."""
    return f"{JOBS}/{job_id}/events"


def batch_path(batch_id: UUID) -> str:
    return f"{BATCHES}/{batch_id}"


class JobLinks(NamedTuple):
    status_url: str
    events_url: str
    cancel_url: str
    """For DELETE."""


class Links:
    """URLs for responses, so that no client has to build one.

    They have the host that the client called, and the scheme that a proxy reports.
    """

    def __init__(self, request: Request) -> None:
        base = request.base_url
        forwarded = request.headers.get("x-forwarded-proto")
        scheme = forwarded if forwarded in ("http", "https") else base.scheme
        self._base = f"{scheme}://{base.netloc}"

    def job(self, job_id: UUID) -> JobLinks:
        status = self._base + job_path(job_id)
        return JobLinks(status, self._base + events_path(job_id), status)

    def batch(self, batch_id: UUID | None) -> str | None:
        return None if batch_id is None else self._base + batch_path(batch_id)

    def batch_events(self, batch_id: UUID) -> str:
        return f"{self._base}{batch_path(batch_id)}/events"


class Turns:
    """Bounds the threads and the memory of slow or large requests: ``at_once`` of them run, in threads of their own.

    The others wait for at most ``within`` seconds.
    """

    def __init__(self, at_once: int, *, within: float, busy: str) -> None:
        self._turns = anyio.Semaphore(at_once)
        self._threads = anyio.CapacityLimiter(at_once)
        self._within = within
        self._busy = busy

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for a turn. Raises Problem (503) if there is none in time."""
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
        """Run ``function(*values)`` in a thread. To be called within a turn."""
        return await to_thread.run_sync(function, *values, limiter=self._threads)
