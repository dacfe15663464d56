"""Network streams that check a watch before every read and write: neither a hang nor a drip outlives its deadline.

A library's timeout applies to one read and starts again with each byte. Here a read waits in short slices, and between
two slices the watch decides whether the operation may continue.
"""

import ssl
from collections.abc import Callable
from typing import Any

import httpcore2

from generation_worker.ports import Watch

POLL_INTERVAL = 0.5
"""Longest wait between two checks of the watch, in seconds: the latency of a cancellation."""
CONNECT_TIMEOUT = 15.0
"""Seconds."""
WRITE_TIMEOUT = 30.0
"""Longest time without progress in sending the request, in seconds."""
WRITE_CHUNK = 65_536
"""Bytes written between two checks of the watch."""


class WatchedStream(httpcore2.NetworkStream):
    """A network stream whose reads and writes end when ``watch()`` raises."""

    def __init__(self, stream: httpcore2.NetworkStream, watch: Callable[[], Watch]) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the watch has its own
        watch = self._watch()
        while True:
            seconds = bounded_timeout(watch, POLL_INTERVAL)
            try:
                return self._stream.read(max_bytes, seconds)
            except httpcore2.ReadTimeout:
                pass  # one slice is over; the watch decides whether the call is

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as for read
        watch, view = self._watch(), memoryview(buffer)
        for start in range(0, len(view), WRITE_CHUNK):
            chunk = view[start : start + WRITE_CHUNK].tobytes()
            self._stream.write(chunk, bounded_timeout(watch, WRITE_TIMEOUT))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        timeout = bounded_timeout(self._watch(), CONNECT_TIMEOUT)
        return type(self)(self._stream.start_tls(ssl_context, server_hostname, timeout), self._watch)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def bounded_timeout(watch: Watch, seconds: float) -> float:
    """``seconds``, or the time left on the watch if that is shorter; never 0, which would mean not to wait.

    Raises what ``watch.check`` raises.
    """
    watch.check()
    return max(0.001, min(seconds, watch.seconds_left()))
