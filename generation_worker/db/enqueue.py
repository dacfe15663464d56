"""How a Python app enqueues, cancels and replays, inside its own transaction.

    from generation_worker import enqueue

    with psycopg.connect(…) as connection:
        [job] = enqueue(connection, "text_to_image", "ada", {"prompt": "a red kite"}, idempotency_key="order-7")

Everything here runs on the caller's connection and commits nothing: the job exists if and only if the caller's own
rows do. A refusal ends the transaction like any failed statement; to go on in it, call inside
``with connection.transaction():``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.rows import class_row, dict_row

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.job import Status
from generation_worker.domain.payload import parse_payload
from generation_worker.domain.refusals import (
    EnqueueRefused,
    IdempotencyConflict,
    InputGone,
    InsufficientCredits,
    InvalidRequest,
    JobNotFound,
    JobNotReplayable,
)

# The span that an app which uses OpenTelemetry is in just now.


def current_traceparent() -> str | None:
    """It as W3C Trace Context writes it, or None.

    Where nobody has imported OpenTelemetry there is no span, and nothing is imported for the sake of asking.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}" if span.is_valid else None


# What the database's functions refuse, as the exceptions of ``domain.refusals``.


_BY_SQLSTATE: dict[str | None, type[EnqueueRefused]] = {
    "GW004": IdempotencyConflict,
    "GW005": InsufficientCredits,
    "GW006": InvalidRequest,
}


@contextmanager
def refusals() -> Generator[None]:
    """Turns the errors by which the database's functions refuse into ours; others pass unchanged."""
    try:
        yield
    except errors.UntranslatableCharacter:
        raise InvalidRequest("a text contains the character U+0000, which the database cannot hold") from None
    except psycopg.DatabaseError as error:
        kind = _BY_SQLSTATE.get(error.sqlstate, InvalidRequest if isinstance(error, psycopg.DataError) else None)
        if kind is None:
            raise
        raise kind(error.diag.message_primary or str(error), error.diag.message_hint or "") from error


Connection = psycopg.Connection[Any]

ENQUEUE = "SELECT id, status, batch AS batch_id, duplicate FROM enqueue_generations(%s::jsonb)"
CANCEL = "SELECT status, cancel_requested FROM cancel_generation(%s)"
REQUEST_OF = """
SELECT status, kind, user_id, payload, CASE kind WHEN 'image_processing' THEN NULL ELSE provider END AS provider,
       fallback_provider, priority, max_attempts, batch_id,
       ARRAY(SELECT s.key FROM swept_upload s
              WHERE s.key IN (SELECT jsonb_path_query(j.payload, '$.**.key') #>> '{}')
                AND NOT EXISTS (SELECT FROM generation_job r WHERE r.retry_of = j.id)) AS gone
  FROM generation_job j WHERE id = %s
"""


class EnqueuedJob(NamedTuple):
    """A job that is now in the queue."""

    id: UUID
    status: Status
    batch_id: UUID | None
    duplicate: bool
    """The same key and request had been enqueued before; this is that job."""


class Cancellation(NamedTuple):
    """What became of a request to cancel."""

    status: Status
    """``cancelled`` at once if the job waited; one that runs is asked to stop and may still complete first."""
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRequest:
    """What ``enqueue`` takes, as a value."""

    kind: str
    user_id: str
    payload: Mapping[str, Any]
    provider: str | None = None
    fallback_provider: str | None = None
    cost: int | None = None
    priority: int | None = None
    run_at: datetime | None = None
    idempotency_key: str | None = None
    count: int | None = None
    batch_id: UUID | None = None
    max_attempts: int | None = None
    deadline_at: datetime | None = None
    retry_of: UUID | None = None
    traceparent: str | None = None
    """The caller's span, as W3C Trace Context writes it; by default OpenTelemetry's current one, if there is one."""


def enqueue(
    connection: Connection,
    kind: str,
    user_id: str,
    payload: Mapping[str, Any],
    *,
    provider: str | None = None,
    fallback_provider: str | None = None,
    cost: int | None = None,
    priority: int | None = None,
    run_at: datetime | None = None,
    idempotency_key: str | None = None,
    count: int | None = None,
    batch_id: UUID | None = None,
    max_attempts: int | None = None,
    deadline_at: datetime | None = None,
    traceparent: str | None = None,
    private_urls: bool = False,
) -> list[EnqueuedJob]:
    """Enqueue one image, or a batch of ``count`` images: one job for each.

    ``provider`` and ``cost`` (credits) are by default the fleet's; ``fallback_provider`` makes the image instead while
    every breaker of the first is open; lower ``priority`` goes first; ``run_at`` is the earliest start; a job that is
    not done by ``deadline_at`` (a day after run_at) fails and is refunded. The same ``idempotency_key`` and request
    give the same jobs again. ``traceparent`` is the caller's span, by default OpenTelemetry's current one, if there is
    one. ``private_urls`` is for development: inputs may also have URLs that only a worker with
    FETCH_ALLOW_PRIVATE fetches.

    Raises InvalidPayload, which names the fields, and EnqueueRefused: InvalidRequest, IdempotencyConflict or
    InsufficientCredits.
    """
    request = EnqueueRequest(
        kind=kind,
        user_id=user_id,
        payload=payload,
        provider=provider,
        fallback_provider=fallback_provider,
        cost=cost,
        priority=priority,
        run_at=run_at,
        idempotency_key=idempotency_key,
        count=count,
        batch_id=batch_id,
        max_attempts=max_attempts,
        deadline_at=deadline_at,
        traceparent=traceparent,
    )
    return enqueue_many(connection, [request], private_urls=private_urls)


def enqueue_many(
    connection: Connection, requests: Iterable[EnqueueRequest], *, private_urls: bool = False
) -> list[EnqueuedJob]:
    """Enqueue up to 1,000 requests, all or none, in one statement; the jobs come in the order of the requests.

    Raises as ``enqueue`` does; of several requests, messages name the one at fault as ``jobs[n]``.
    """
    asked = list(requests)
    if not asked:
        return []
    places = [f"jobs[{n}]." if len(asked) > 1 else "" for n in range(len(asked))]
    written = [_written(request, place, private_urls) for request, place in zip(asked, places, strict=True)]
    with refusals(), connection.cursor(row_factory=class_row(EnqueuedJob)) as cursor:
        return cursor.execute(ENQUEUE, [json.dumps(written)]).fetchall()


def cancel(connection: Connection, job_id: UUID | str) -> Cancellation:
    """Cancel a job that waits, with its refund, or ask one that runs to stop. A final job stays as it is.

    Raises JobNotFound.
    """
    with refusals(), connection.cursor(row_factory=class_row(Cancellation)) as cursor:
        found = cursor.execute(CANCEL, [str(job_id)]).fetchone()
    if found is None:
        raise _not_found(job_id)
    return found


def replay(connection: Connection, job_id: UUID | str) -> EnqueuedJob:
    """Make a new job of one that failed or was cancelled, at today's price. Replayed again, it gives the same new job.

    Raises JobNotFound, JobNotReplayable, InputGone, and what ``enqueue`` raises.
    """
    with refusals(), connection.cursor(row_factory=dict_row) as cursor:
        request = cursor.execute(REQUEST_OF, [str(job_id)]).fetchone()
    if request is None:
        raise _not_found(job_id)
    status = request.pop("status")
    if status not in ("failed", "cancelled"):
        raise JobNotReplayable(
            f"job {job_id} is {status}; only a job that failed or was cancelled can be replayed",
            "Enqueue a new one instead." if status == "completed" else "Cancel it first, or wait for its end.",
        )
    if gone := request.pop("gone"):
        raise _gone(request["payload"], gone)
    again = EnqueueRequest(**request, retry_of=UUID(str(job_id)))
    [job] = enqueue_many(connection, [again], private_urls=True)  # as it was let in before; its worker judges the URLs
    return job


def _written(request: EnqueueRequest, place: str, private_urls: bool) -> dict[str, Any]:
    """``request`` as the SQL function reads it; what is not given is left out."""
    try:
        parse_payload(request.kind, request.payload, private_urls=private_urls)
    except InvalidPayload as error:
        raise InvalidPayload(f"{place}{error}") from None
    values = {name: getattr(request, name) for name in EnqueueRequest.__slots__}
    if request.traceparent is None:
        values["traceparent"] = current_traceparent()
    return {name: _plain(f"{place}{name}", value) for name, value in values.items() if value is not None}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidRequest(f"{name}: has no time zone", "Use an aware datetime, such as datetime.now(UTC).")
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _gone(payload: Mapping[str, Any], keys: Collection[str]) -> InputGone:
    """The first of the images that are gone, by its field."""
    field, key = next((field, key) for field, key in _keys(payload, "payload") if key in keys)
    return InputGone(
        f"{field}: the uploaded image {key} was deleted; uploads are kept for UPLOAD_RETENTION",
        "Upload it again (POST /worker/images), and enqueue a new job with its new key.",
    )


def _keys(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every ``key`` in a payload, by the field that has it."""
    if isinstance(value, dict):
        inside = cast(dict[str, Any], value)
        if "key" in inside:
            yield place, inside["key"]
        for name, part in inside.items():
            yield from _keys(part, f"{place}.{name}")
    elif isinstance(value, list):
        for n, part in enumerate(cast(list[Any], value)):
            yield from _keys(part, f"{place}[{n}]")


def _not_found(job_id: UUID | str) -> JobNotFound:
    return JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
