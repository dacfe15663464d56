"""Enqueues, cancels and replays jobs for Python apps, inside the app's own transaction.

    from generation_worker import enqueue

    with psycopg.connect(…) as connection:
        [job] = enqueue(connection, "text_to_image", "ada", {"prompt": "a red kite"}, idempotency_key="order-7")

The public functions run on the caller's connection and commit nothing: the job exists if and only if the caller's own
rows do. A refusal ends the transaction, as a failed statement does; to continue in it, call inside
``with connection.transaction():``.
"""

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

from generation_worker.db.query import Queries
from generation_worker.db.statements import SCHEMA
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.job import Status
from generation_worker.domain.payload import parse_payload
from generation_worker.domain.refusals import (
    IdempotencyConflict,
    InputGone,
    InsufficientCredits,
    InvalidRequest,
    JobNotFound,
    JobNotReplayable,
    RequestRefused,
)

Connection = psycopg.Connection[Any]


class EnqueuedJob(NamedTuple):
    """A job that is now in the queue."""

    id: UUID
    status: Status
    batch_id: UUID | None
    duplicate: bool
    """The same key and request had been enqueued before; this is that job."""


class Cancellation(NamedTuple):
    """The state of a job after a request to cancel it."""

    status: Status
    """``cancelled`` at once if the job waited; a running job is asked to stop and may still complete first."""
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRequest:
    """The arguments of ``enqueue`` as a value."""

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
    """The caller's span in W3C Trace Context format; by default OpenTelemetry's current span, if there is one."""


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
    schema: str = SCHEMA,
) -> list[EnqueuedJob]:
    """Enqueue one image, or a batch of ``count`` images: one job for each.

    ``provider`` and ``cost`` (credits) default to the fleet's settings. ``fallback_provider`` makes the image while
    every breaker of ``provider`` is open. A lower ``priority`` goes first. ``run_at`` is the earliest start. A job that
    has not ended by ``deadline_at`` (default: a day after run_at) fails and is refunded. The same ``idempotency_key``
    and request return the same jobs again. ``traceparent`` is the caller's span, by default OpenTelemetry's current
    one, if there is one. ``private_urls`` is for development: inputs may also have URLs that only a worker with
    FETCH_ALLOW_PRIVATE fetches. ``schema`` is the worker's DATABASE_SCHEMA.

    Raises InvalidPayload, which names the fields, and RequestRefused: InvalidRequest, IdempotencyConflict or
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
    return enqueue_many(connection, [request], private_urls=private_urls, schema=schema)


def enqueue_many(
    connection: Connection,
    requests: Iterable[EnqueueRequest],
    *,
    private_urls: bool = False,
    schema: str = SCHEMA,
) -> list[EnqueuedJob]:
    """Enqueue up to 1,000 requests, all or none, in one statement; the jobs are in the order of the requests.

    Raises as ``enqueue`` does; of several requests, messages name the wrong one as ``jobs[n]``.
    """
    return enqueue_requests(Queries.on(connection, schema=schema), requests, private_urls=private_urls)


def cancel(connection: Connection, job_id: UUID | str, *, schema: str = SCHEMA) -> Cancellation:
    """Cancel a waiting job and refund it, or ask a running job to stop. A final job stays as it is.

    Raises JobNotFound.
    """
    return cancel_or_stop(Queries.on(connection, schema=schema), job_id)


def replay(connection: Connection, job_id: UUID | str, *, schema: str = SCHEMA) -> EnqueuedJob:
    """Make a new job of one that failed or was cancelled, at today's price. A second replay returns the same new job.

    Raises JobNotFound, JobNotReplayable, InputGone, and everything that ``enqueue`` raises.
    """
    return enqueue_again(Queries.on(connection, schema=schema), job_id)


# The same on Queries, for db/jobs.py, which adds limits and the audit trail.


def enqueue_requests(
    queries: Queries, requests: Iterable[EnqueueRequest], *, private_urls: bool = False
) -> list[EnqueuedJob]:
    """As ``enqueue_many``."""
    given = list(requests)
    if not given:
        return []
    places = [f"jobs[{n}]." if len(given) > 1 else "" for n in range(len(given))]
    jobs = [_to_json(request, place, private_urls) for request, place in zip(given, places, strict=True)]
    with refusals():
        return queries.all(EnqueuedJob, "enqueue_jobs", jobs=json.dumps(jobs))


def cancel_or_stop(queries: Queries, job_id: UUID | str) -> Cancellation:
    """As ``cancel``."""
    with refusals():
        found = queries.one_or_none(Cancellation, "cancel_job", id=str(job_id))
    if found is None:
        raise job_not_found(job_id)
    return found


def enqueue_again(queries: Queries, job_id: UUID | str) -> EnqueuedJob:
    """As ``replay``."""
    with refusals():
        request = queries.row_or_none("replayed_request", id=str(job_id))
    if request is None:
        raise job_not_found(job_id)
    status, deleted_keys = request.pop("status"), request.pop("gone")
    if status not in ("failed", "cancelled"):
        raise JobNotReplayable(
            f"job {job_id} is {status}; only a job that failed or was cancelled can be replayed",
            "Enqueue a new one instead." if status == "completed" else "Cancel it first, or wait until it ends.",
        )
    if deleted_keys:
        raise _input_gone(request["payload"], deleted_keys)
    again = EnqueueRequest(**request, retry_of=UUID(str(job_id)))
    [job] = enqueue_requests(queries, [again], private_urls=True)  # accepted once before; its worker checks the URLs
    return job


def job_not_found(job_id: UUID | str) -> JobNotFound:
    """The error for an id without a job."""
    return JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")


_BY_SQLSTATE: dict[str | None, type[RequestRefused]] = {
    "GW004": IdempotencyConflict,
    "GW005": InsufficientCredits,
    "GW006": InvalidRequest,
}


@contextmanager
def refusals() -> Generator[None]:
    """Raise the errors with which our SQL functions refuse a request as RequestRefused; others pass unchanged."""
    try:
        yield
    except errors.UntranslatableCharacter:
        raise InvalidRequest("a text contains the character U+0000, which the database cannot hold") from None
    except psycopg.DatabaseError as error:
        kind = _BY_SQLSTATE.get(error.sqlstate, InvalidRequest if isinstance(error, psycopg.DataError) else None)
        if kind is None:
            raise
        raise kind(error.diag.message_primary or str(error), error.diag.message_hint or "") from error


def current_traceparent() -> str | None:
    """OpenTelemetry's current span in W3C Trace Context format; None if there is none.

    Does not import OpenTelemetry: where the app has not imported it, there is no span.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}" if span.is_valid else None


def _to_json(request: EnqueueRequest, place: str, private_urls: bool) -> dict[str, Any]:
    """``request`` as the SQL function reads it, without the fields that are None. ``place`` begins error messages."""
    try:
        parse_payload(request.kind, request.payload, private_urls=private_urls)
    except InvalidPayload as error:
        raise InvalidPayload(f"{place}{error}") from None
    values = {name: getattr(request, name) for name in EnqueueRequest.__slots__}
    if request.traceparent is None:
        values["traceparent"] = current_traceparent()
    return {name: _json_value(f"{place}{name}", value) for name, value in values.items() if value is not None}


def _json_value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidRequest(f"{name}: has no time zone", "Use an aware datetime, such as datetime.now(UTC).")
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _input_gone(payload: Mapping[str, Any], deleted_keys: Collection[str]) -> InputGone:
    """The error for the first deleted image of the payload; it names the image's field."""
    field, key = next((field, key) for field, key in _keys(payload, "payload") if key in deleted_keys)
    return InputGone(
        f"{field}: the uploaded image {key} was deleted; uploads are kept for UPLOAD_RETENTION",
        "Upload it again (POST /worker/images), and enqueue a new job with its new key.",
    )


def _keys(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every ``key`` in a payload, with the field that holds it."""
    if isinstance(value, dict):
        mapping = cast(dict[str, Any], value)
        if "key" in mapping:
            yield place, mapping["key"]
        for name, part in mapping.items():
            yield from _keys(part, f"{place}.{name}")
    elif isinstance(value, list):
        for n, part in enumerate(cast(list[Any], value)):
            yield from _keys(part, f"{place}[{n}]")
