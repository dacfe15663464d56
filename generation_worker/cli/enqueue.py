"""``enqueue``: a job from the command line."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from generation_worker.cli import enqueue_options as given
from generation_worker.cli.database import database
from generation_worker.cli.options import Json, read_moment
from generation_worker.cli.output import print_json, text
from generation_worker.cli.payload import build_payload
from generation_worker.cli.settings import load
from generation_worker.domain.pause import extent_of
from generation_worker.domain.trace import heard_traceparent

if TYPE_CHECKING:
    from generation_worker.db.answers.control import Pause
    from generation_worker.db.enqueue import EnqueuedJob
    from generation_worker.db.pool import OwnConnection

NOW = "SELECT clock_timestamp()"


def enqueue(
    kind: given.Kind,
    user: given.Payer,
    payload: given.Payload = None,
    prompt: given.Prompt = None,
    input_: given.Inputs = None,
    image: given.Images = None,
    provider: given.Provider = None,
    fallback: given.Fallback = None,
    cost: given.Cost = None,
    priority: given.Priority = None,
    run_at: given.RunAt = None,
    key: given.Key = None,
    count: given.Count = None,
    max_attempts: given.MaxAttempts = None,
    traceparent: given.Traceparent = None,
    as_json: Json = False,
) -> None:
    """Enqueue a job; prints its id."""
    asked = {
        "kind": kind,
        "user_id": user,
        "payload": build_payload(kind, payload, prompt, input_ or [], image or []),
        "provider": provider,
        "fallback_provider": fallback,
        "cost": cost,
        "priority": priority,
        "idempotency_key": key,
        "count": count,
        "max_attempts": max_attempts,
        "traceparent": heard_traceparent(os.environ.get("TRACEPARENT")) if traceparent is None else traceparent,
    }
    enqueued, paused = _enqueue(asked, read_moment(run_at) if run_at else None)
    _say(enqueued, paused, as_json=as_json)


def _enqueue(asked: dict[str, Any], moment: datetime | timedelta | None) -> tuple[list[EnqueuedJob], list[Pause]]:
    """The jobs, and what keeps them from being started."""
    settings = load()
    with database(settings) as own:
        from generation_worker.db import enqueue as queue  # noqa: PLC0415 - not for --help
        from generation_worker.db.pauses import pauses_of  # noqa: PLC0415

        start = _moment(own, moment)
        with own.connection() as connection:
            private_urls = settings.fetch_allow_private
            enqueued = queue.enqueue(connection, **asked, run_at=start, private_urls=private_urls)
            return enqueued, pauses_of(connection, enqueued[0].id)


def _moment(own: OwnConnection, moment: datetime | timedelta | None) -> Any:
    """Spans count from the database's now, like everything about a job."""
    if not isinstance(moment, timedelta):
        return moment
    with own.connection() as connection:
        row = connection.execute(NOW).fetchone()
    assert row is not None
    return row[0] + moment


def _say(enqueued: list[EnqueuedJob], paused: list[Pause], *, as_json: bool) -> None:
    if as_json:
        print_json({"jobs": enqueued, "paused": paused})
        return
    for job in enqueued:
        typer.echo(f"{job.id}  {job.status}{'  (was there already)' if job.duplicate else ''}")
    for pause in paused:
        because = f": {text(pause.reason)}" if pause.reason else ""
        typer.echo(f"It waits: {extent_of(pause.name)} is paused by {text(pause.by)}{because}", err=True)
