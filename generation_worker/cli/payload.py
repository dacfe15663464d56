"""A payload from what stands on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer

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
