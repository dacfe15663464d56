"""An HTTP transport whose every read and write asks the call's watch first.

The client's own timeouts hold for one read, and are never reached while a byte comes now and then, be it of a header or
between two chunks. So the deadline stands where the bytes come in, in the network backend. It also makes a cancelled
call end while the provider still thinks (see net/watched.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from generation_worker.net.watched import CONNECT_TIMEOUT, WatchedStream, within
from generation_worker.providers.http import current_watch

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
        timeout = within(current_watch(), CONNECT_TIMEOUT)
        # A connection outlives the call, so each operation asks whose it is now.
        return _CallStream(
            self._backend.connect_tcp(host, port, timeout, local_address, socket_options), watch=current_watch
        )


class _CallStream(WatchedStream):
    """A connection whose first write is the moment at which a paid call leaves."""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        current_watch().going_out()
        super().write(buffer, timeout)
