"""``enqueue``: a job from the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from generation_worker.cli.output import print_json, text
from generation_worker.cli.shell import Json, database, load, read_moment
from generation_worker.domain.fleet import extent_of
from generation_worker.domain.job import heard_traceparent

# The options of ``enqueue``.


Kind = Annotated[str, typer.Argument(metavar="KIND", help="text_to_image, image_conversion or image_processing.")]
Payer = Annotated[str, typer.Argument(metavar="USER", help="Who pays.")]
Payload = Annotated[str | None, typer.Argument(metavar="JSON|@FILE|-", help="The payload; - is stdin.")]
Prompt = Annotated[str | None, typer.Option(help="The payload's prompt.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="Fills {{NAME}} of the prompt.")
]
Images = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY|URL", help="An input image. image_conversion takes two: the person, the garment."),
]
Provider = Annotated[str | None, typer.Option(help="Who makes it; by default the fleet's default.")]
Fallback = Annotated[str | None, typer.Option(help="Who makes it instead while every breaker of the provider is open.")]
Cost = Annotated[int | None, typer.Option(help="Credits, where the caller may set them.")]
Priority = Annotated[int | None, typer.Option(help="Lower goes first.")]
RunAt = Annotated[str | None, typer.Option(metavar="TIME|+5m", help="Not before then.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key gives the same job.")]
Count = Annotated[int | None, typer.Option(help="So many images, a job for each.")]
MaxAttempts = Annotated[int | None, typer.Option(help="By default the worker's.")]
Traceparent = Annotated[
    str | None, typer.Option(help="The span to which the job's belong; by default that in TRACEPARENT, if any.")
]


# A payload from what stands on the command line.


ROOM = {"text_to_image": 14, "image_conversion": 2, "image_processing": 1}
"""How many images a job of each kind takes."""


def build_payload(
    kind: str, source: str | None, prompt: str | None, inputs: Sequence[str], images: Sequence[str]
) -> dict[str, Any]:
    """The payload in ``source`` (JSON, @file or - for stdin), with what the options add. Raises typer.BadParameter."""
    payload = {} if source is None else _read(source)
    if prompt is not None:
        payload["prompt"] = prompt
    if inputs:
        given = payload.get("inputs")
        pairs = dict(_pair(pair) for pair in inputs)
        payload["inputs"] = {**cast(dict[str, Any], given), **pairs} if isinstance(given, dict) else pairs
    return payload | _images(kind, images)


def _read(source: str) -> dict[str, Any]:
    try:
        if source == "-":
            source = sys.stdin.read()
        elif source.startswith("@"):
            source = Path(source[1:]).read_text(encoding="utf-8")
        payload = json.loads(source)
    except OSError as error:
        raise _wrong(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise _wrong(f"is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise _wrong("must be a JSON object")
    return cast(dict[str, Any], payload)


def _wrong(problem: str) -> typer.BadParameter:
    return typer.BadParameter(problem, param_hint="payload")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--input")
    return name, value


def _images(kind: str, images: Sequence[str]) -> dict[str, Any]:
    references = [{"url" if "://" in image else "key": image} for image in images]
    if len(references) > ROOM.get(kind, len(references)):
        raise typer.BadParameter(f"{kind} takes {ROOM[kind]} at most", param_hint="--image")
    if not references:
        return {}
    if kind == "image_conversion":
        return dict(zip(("user_image", "cloth_image"), references, strict=False))
    return {"image": references[0]} if kind == "image_processing" else {"images": references}


if TYPE_CHECKING:
    from generation_worker.db.audit_trail import Pause
    from generation_worker.db.connections import OwnConnection
    from generation_worker.db.enqueue import EnqueuedJob

NOW = "SELECT clock_timestamp()"


def enqueue(
    kind: Kind,
    user: Payer,
    payload: Payload = None,
    prompt: Prompt = None,
    input_: Inputs = None,
    image: Images = None,
    provider: Provider = None,
    fallback: Fallback = None,
    cost: Cost = None,
    priority: Priority = None,
    run_at: RunAt = None,
    key: Key = None,
    count: Count = None,
    max_attempts: MaxAttempts = None,
    traceparent: Traceparent = None,
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
        from generation_worker.db.fleet import pauses_of  # noqa: PLC0415

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
