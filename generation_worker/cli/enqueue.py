"""``enqueue``: a job from the command line."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    kind: Annotated[str, typer.Argument(metavar="KIND", help="text_to_image, image_conversion or image_processing.")],
    user: Annotated[str, typer.Argument(metavar="USER", help="Who pays.")],
    payload: Annotated[str | None, typer.Argument(metavar="JSON|@FILE|-", help="The payload; - is stdin.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The payload's prompt.")] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="Fills {{NAME}} of the prompt.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY|URL", help="An input image. image_conversion takes two: the person, the garment."),
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Who makes it; by default the fleet's default.")] = None,
    fallback: Annotated[
        str | None, typer.Option(help="Who makes it instead while every breaker of the provider is open.")
    ] = None,
    cost: Annotated[int | None, typer.Option(help="Credits, where the caller may set them.")] = None,
    priority: Annotated[int | None, typer.Option(help="Lower goes first.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME|+5m", help="Not before then.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key gives the same job.")] = None,
    count: Annotated[int | None, typer.Option(help="So many images, a job for each.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="By default the worker's.")] = None,
    traceparent: Annotated[
        str | None, typer.Option(help="The span to which the job's belong; by default that in TRACEPARENT, if any.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enqueue a job; prints its id."""
    asked = build_payload(kind, payload, prompt, input_ or [], image or [])
    moment = read_moment(run_at) if run_at else None
    settings = load()
    with database(settings) as own:
        from generation_worker.db import enqueue as queue  # noqa: PLC0415 - not for --help
        from generation_worker.db.pauses import pauses_of  # noqa: PLC0415

        start = _moment(own, moment)
        with own.connection() as connection:
            enqueued = queue.enqueue(
                connection,
                kind,
                user,
                asked,
                provider=provider,
                fallback_provider=fallback,
                cost=cost,
                priority=priority,
                run_at=start,
                idempotency_key=key,
                count=count,
                max_attempts=max_attempts,
                traceparent=heard_traceparent(os.environ.get("TRACEPARENT")) if traceparent is None else traceparent,
                private_urls=settings.fetch_allow_private,
            )
            paused = pauses_of(connection, enqueued[0].id)
    _say(enqueued, paused, as_json=as_json)


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
