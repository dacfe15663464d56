"""Connections that ask a watch before each read and write, so that neither a hang nor a drip outlives its time.

A timeout of the library's holds for one read. Reads wait in short slices here, and in between the watch says whether
there is any use in going on.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import httpcore2

from generation_worker.ports import Watch

SLICE = 0.5
"""Longest wait before the watch is asked again, in seconds: how late a cancel may be heard."""
CONNECT_TIMEOUT = 15.0
"""A connection that is not there after so many seconds will not come."""
WRITE_TIMEOUT = 30.0
"""Longest time without a byte of the request being taken, in seconds."""
PIECE = 65_536
"""Bytes that are written before the watch is asked again."""


class WatchedStream(httpcore2.NetworkStream):
    """A connection whose reads and writes ``watch()`` may end, by raising."""

    def __init__(self, stream: httpcore2.NetworkStream, watch: Callable[[], Watch]) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the watch has its own
        watch = self._watch()
        while True:
            seconds = within(watch, SLICE)
            try:
                return self._stream.read(max_bytes, seconds)
            except httpcore2.ReadTimeout:
                pass  # only a slice is over; the watch knows whether the call is

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as for read
        watch, view = self._watch(), memoryview(buffer)
        for start in range(0, len(view), PIECE):
            self._stream.write(view[start : start + PIECE].tobytes(), within(watch, WRITE_TIMEOUT))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        timeout = within(self._watch(), CONNECT_TIMEOUT)
        return type(self)(self._stream.start_tls(ssl_context, server_hostname, timeout), self._watch)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def within(watch: Watch, seconds: float) -> float:
    """``seconds``, or what is left of the watch. Raises as the watch does; never 0, which would mean not to wait."""
    watch.check()
    return max(0.001, min(seconds, watch.seconds_left()))
