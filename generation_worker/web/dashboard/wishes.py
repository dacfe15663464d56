"""What a job was asked for, in the words of whoever asked."""

from __future__ import annotations

from typing import Any

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.payload import ImageRef, parse_payload
from generation_worker.domain.prompt import fill
from generation_worker.web.dashboard.untyped import fields, items
from generation_worker.worker import artifact, uploads


def wish_of(prompt: Any, inputs: Any, operations: Any = None) -> str | None:
    """The prompt with its placeholders filled, as far as that goes; else the names of ``operations``."""
    if isinstance(prompt, str):
        try:
            return fill(prompt, inputs)
        except (KeyError, TypeError):
            return prompt
    return ", ".join(str(name) for name in items(operations)) or None


def wish_in(payload: Any) -> str | None:
    """The same, of a whole payload."""
    asked = fields(payload)
    names = [fields(each).get("type") for each in items(asked.get("operations"))]
    return wish_of(asked.get("prompt"), asked.get("inputs"), names)


def inputs_of(kind: str, payload: Any) -> tuple[ImageRef, ...]:
    """The images that the job was given; none of a payload that is not valid."""
    try:
        return parse_payload(kind, payload, private_urls=True).images
    except InvalidPayload:
        return ()


def is_ours(key: str) -> bool:
    """Whether an object of this key was written by us: an upload, or the image of a job."""
    return bool(uploads.KEY.fullmatch(key) or artifact.KEY.fullmatch(key))
