"""An HTTP transport whose every read and write asks the call's watch first.

The client's own timeouts hold for one read, and are never reached while a byte comes now and then, be it of a header or
between two chunks. So the deadline stands where the bytes come in, in the network backend. It also makes a cancelled
call end while the provider still thinks: reads wait in short slices.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from generation_worker.providers.call_watch import CallWatch, current_watch

SLICE = 0.5
"""Longest wait for bytes before the watch is asked again, in seconds: how late a cancel may be heard."""
CONNECT_TIMEOUT = 15.0
"""A connection that is not there after so many seconds will not come."""
WRITE_TIMEOUT = 30.0
"""Longest time without a byte of the request being taken, in seconds."""
PIECE = 65_536
"""Bytes that are written before the watch is asked again."""
KEEPALIVE = 5.0
"""Seconds that an idle connection is kept. Short: a request on one that the server is just closing may be lost."""


class EncodedAnswer(Exception):
    """The answer is compressed although we asked that it is not; who decompresses it cannot bound its size."""


def watched_client(base_url: str, *, connections: int) -> httpx2.Client:
    """A client for ``base_url`` with as many connections, through the environment's proxy if it names one."""
    pool = httpcore2.ConnectionPool(
        ssl_context=httpx2.create_ssl_context(),
        proxy=proxy_for(base_url),
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE,
        network_backend=_Backend(),
    )
    return httpx2.Client(transport=_Transport(pool))


def proxy_for(url: str) -> httpcore2.Proxy | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name for ``url``, unless NO_PROXY exempts it."""
    address, proxies = urlsplit(url), getproxies()
    found = proxies.get(address.scheme) or proxies.get("all")
    if not found or proxy_bypass(address.netloc):
        return None
    proxy = httpx2.Proxy(found if "://" in found else f"http://{found}")
    return httpcore2.Proxy(str(proxy.url), auth=proxy.raw_auth)


class _Transport(httpx2.BaseTransport):
    """httpx2's own transport over a pool that takes a network backend, which httpx2's does not."""

    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=_sending(cast("Iterable[bytes]", request.stream)),
                extensions=request.extensions,
            )
        )
        current_watch().status = answer.status
        stream = _Stream(cast("Iterable[bytes]", answer.stream))
        extensions = cast("dict[str, Any]", answer.extensions)  # pyright: ignore[reportUnknownMemberType]
        response = httpx2.Response(answer.status, headers=answer.headers, stream=stream, extensions=extensions)
        if response.headers.get("content-encoding", "identity") != "identity":
            stream.close()
            raise EncodedAnswer
        return response

    def close(self) -> None:
        self._pool.close()


def _sending(body: Iterable[bytes]) -> Iterator[bytes]:
    """``body``; that the chunk after the last is asked for means that all of it was written."""
    yield from body
    current_watch().sent = True


class _Stream(httpx2.SyncByteStream):
    """An answer's bytes, counted."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        watch = current_watch()
        for chunk in self._chunks:
            watch.received(len(chunk))
            yield chunk

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


class _Backend(httpcore2.NetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        timeout = _within(current_watch(), CONNECT_TIMEOUT)
        return _WatchedStream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))


class _WatchedStream(httpcore2.NetworkStream):
    """A connection. It outlives the call, so each operation asks whose it is now."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the watch has its own
        watch = current_watch()
        while True:
            seconds = _within(watch, SLICE)
            try:
                return self._stream.read(max_bytes, seconds)
            except httpcore2.ReadTimeout:
                pass  # only a slice is over; the watch knows whether the call is

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as for read
        watch, view = current_watch(), memoryview(buffer)
        watch.going_out()
        for start in range(0, len(view), PIECE):
            self._stream.write(view[start : start + PIECE].tobytes(), _within(watch, WRITE_TIMEOUT))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        timeout = _within(current_watch(), CONNECT_TIMEOUT)
        return _WatchedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _within(watch: CallWatch, seconds: float) -> float:
    """``seconds``, or what is left of the call. Raises as the watch does; never 0, which would mean not to wait."""
    watch.check()
    return max(0.001, min(seconds, watch.seconds_left()))
