"""What goes over the pipe: a JSON header and raw bytes, each with its length.

No pickle: the other side has read untrusted bytes and is not trusted itself.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from time import monotonic
from typing import Any

LENGTHS = struct.Struct("!IQ")
HEADER_LIMIT = 64 * 1024


class FrameError(Exception):
    """The other side does not keep to the protocol."""


def send(pipe: socket.socket, header: Mapping[str, Any], *parts: bytes, until: float | None = None) -> None:
    """Write one frame. Raises OSError if the other side is gone, TimeoutError at ``until`` (monotonic seconds)."""
    head = json.dumps(header).encode()
    lengths = LENGTHS.pack(len(head), sum(map(len, parts)))
    for part in (lengths + head, *parts):
        _limit(pipe, until)
        pipe.sendall(part)


def receive(pipe: socket.socket, limit: int, *, until: float | None = None) -> tuple[dict[str, Any], memoryview]:
    """Read one frame whose bytes number no more than ``limit``.

    Raises EOFError or another OSError if the other side is gone, FrameError if it talks nonsense, TimeoutError at
    ``until``.
    """
    head_length, body_length = LENGTHS.unpack(_exactly(pipe, LENGTHS.size, until))
    if head_length > HEADER_LIMIT or body_length > limit:
        raise FrameError("a frame is longer than allowed")
    try:
        header = json.loads(bytes(_exactly(pipe, head_length, until)))
    except ValueError:
        raise FrameError("a header is not JSON") from None
    return header, _exactly(pipe, body_length, until)


def _exactly(pipe: socket.socket, length: int, until: float | None) -> memoryview:
    received = memoryview(bytearray(length))
    missing = received
    while missing:
        _limit(pipe, until)
        count = pipe.recv_into(missing)
        if count == 0:
            raise EOFError("the other side closed the pipe")
        missing = missing[count:]
    return received


def _limit(pipe: socket.socket, until: float | None) -> None:
    """Let the next call on ``pipe`` wait no longer than ``until``."""
    if until is None:
        return
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError
    pipe.settimeout(left)
