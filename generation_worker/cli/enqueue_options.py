"""The options of ``enqueue``."""

from __future__ import annotations

from typing import Annotated

import typer

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
