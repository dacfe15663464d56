"""``enqueue``: enqueues a job, whose payload is given as JSON or by options."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from generation_worker.cli.output import print_json, text
from generation_worker.cli.shell import Json, database, load, read_moment
from generation_worker.db.enqueue import EnqueuedJob, EnqueueRequest, enqueue_requests
from generation_worker.db.fleet import Pause, pauses_of_job
from generation_worker.db.query import Queries
from generation_worker.domain.fleet import extent_of
from generation_worker.domain.job import read_traceparent

MOST_IMAGES = {"text_to_image": 14, "image_conversion": 2, "image_processing": 1}
"""Most input images of a job of each kind."""

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
Provider = Annotated[str | None, typer.Option(help="Default: the fleet's default provider.")]
Fallback = Annotated[str | None, typer.Option(help="The provider to use while every breaker of the first one is open.")]
Cost = Annotated[int | None, typer.Option(help="Credits, if the fleet lets callers set them.")]
Priority = Annotated[int | None, typer.Option(help="Lower goes first.")]
RunAt = Annotated[str | None, typer.Option(metavar="TIME|+5m", help="Earliest start.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same key returns the same job.")]
Count = Annotated[int | None, typer.Option(help="Number of images; each one is a job.")]
MaxAttempts = Annotated[int | None, typer.Option(help="Default: the worker's setting.")]
Traceparent = Annotated[
    str | None, typer.Option(help="The parent span (W3C Trace Context). Default: TRACEPARENT of the environment.")
]


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
    request: dict[str, Any] = {
        "kind": kind,
        "user_id": user,
        "payload": _payload(kind, payload, prompt, input_ or [], image or []),
        "provider": provider,
        "fallback_provider": fallback,
        "cost": cost,
        "priority": priority,
        "idempotency_key": key,
        "count": count,
        "max_attempts": max_attempts,
        "traceparent": read_traceparent(os.environ.get("TRACEPARENT")) if traceparent is None else traceparent,
    }
    settings = load()
    with database(settings) as queries:
        request["run_at"] = _start(queries, run_at)
        private_urls = settings.fetch_allow_private
        enqueued = enqueue_requests(queries, [EnqueueRequest(**request)], private_urls=private_urls)
        pauses = pauses_of_job(queries, enqueued[0].id)
    if as_json:
        print_json({"jobs": enqueued, "paused": pauses})
    else:
        _print(enqueued, pauses)


def _start(queries: Queries, run_at: str | None) -> datetime | None:
    """The earliest start. Spans count from the database's time, like all times of a job."""
    moment = None if run_at is None else read_moment(run_at)
    return queries.rows("server_time")[0]["now"] + moment if isinstance(moment, timedelta) else moment


def _print(enqueued: Sequence[EnqueuedJob], pauses: Sequence[Pause]) -> None:
    for job in enqueued:
        typer.echo(f"{job.id}  {job.status}{'  (was enqueued before)' if job.duplicate else ''}")
    for pause in pauses:
        because = f": {text(pause.reason)}" if pause.reason else ""
        typer.echo(f"It waits: {extent_of(pause.name)} is paused by {text(pause.by)}{because}", err=True)


def _payload(
    kind: str, source: str | None, prompt: str | None, inputs: Sequence[str], images: Sequence[str]
) -> dict[str, Any]:
    """The payload in ``source`` (JSON, @file or - for stdin), with the options' values. Raises typer.BadParameter."""
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
    if len(references) > MOST_IMAGES.get(kind, len(references)):
        raise typer.BadParameter(f"{kind} takes {MOST_IMAGES[kind]} images at most", param_hint="--image")
    if not references:
        return {}
    if kind == "image_conversion":
        return dict(zip(("user_image", "cloth_image"), references, strict=False))
    return {"image": references[0]} if kind == "image_processing" else {"images": references}
