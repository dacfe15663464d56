"""A request's body, bounded in size, in time and in depth before anything reads it."""

from __future__ import annotations

import re

import anyio
from fastapi import Request
from starlette.requests import ClientDisconnect

from generation_worker.web.problems import Problem

MOST_DEEP = 20
READ_WITHIN = 20.0
"""Seconds in which a body must be here."""
SEND_LESS = (
    "Upload images first (POST /worker/images), and name them by their keys; or use a key that may send more: "
    "generation-worker token create --max-body, API_MAX_BODY_KB."
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{\]}]")


class BoundedRequest(Request):
    """Its body is JSON of at most ``most`` bytes."""

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
    """Raises Problem: 413 as soon as it is larger, 408 if it takes too long, 400 if it breaks off.

    One that says that it is larger than ``most`` is not begun; of one that does not say how large it is, no more is
    kept than that.
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
        raise Problem(408, "body_late", f"The body was not here within {within:g} s.") from None
    except ClientDisconnect:
        raise Problem(400, "invalid_body", "The body breaks off.") from None
    return bytes(body)


def depth(text: bytes) -> int:
    """How many arrays and objects of a JSON text stand in each other at most."""
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
