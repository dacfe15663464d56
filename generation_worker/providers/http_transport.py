"""An httpx2 client whose every read and write checks the watch of the current call first.

httpx2's own timeouts apply to one read, so a server that sends a byte now and then, in a header or between two chunks,
never reaches them. The deadline is therefore checked where bytes arrive, in the network backend, which also lets a
cancelled call end while the provider is still working (see net.py).
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from generation_worker.net import CONNECT_TIMEOUT, WatchedStream, bounded_timeout
from generation_worker.providers.http import current_watch

KEEPALIVE = 5.0
"""Seconds that an idle connection is kept. Short, because a request on a connection that the server is closing may be
lost."""


class EncodedResponse(Exception):
    """The response is compressed against our request; the size of compressed data cannot be bounded."""


def watched_client(base_url: str, *, connections: int) -> httpx2.Client:
    """A client for ``base_url`` with at most ``connections``, through the environment's proxy if there is one."""
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
    """The proxy for ``url`` from HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; None without one, or if NO_PROXY exempts it."""
    address, proxies = urlsplit(url), getproxies()
    found = proxies.get(address.scheme) or proxies.get("all")
    if not found or proxy_bypass(address.netloc):
        return None
    proxy = httpx2.Proxy(found if "://" in found else f"http://{found}")
    return httpcore2.Proxy(str(proxy.url), auth=proxy.raw_auth)


class _Transport(httpx2.BaseTransport):
    """httpx2's transport over a pool of our own: httpx2's own pool cannot be given another network backend."""

    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        response = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=_mark_sent(cast("Iterable[bytes]", request.stream)),
                extensions=request.extensions,
            )
        )
        current_watch().status = response.status
        stream = _CountedStream(cast("Iterable[bytes]", response.stream))
        extensions = cast("dict[str, Any]", response.extensions)  # pyright: ignore[reportUnknownMemberType]
        result = httpx2.Response(response.status, headers=response.headers, stream=stream, extensions=extensions)
        if result.headers.get("content-encoding", "identity") != "identity":
            stream.close()
            raise EncodedResponse
        return result

    def close(self) -> None:
        self._pool.close()


def _mark_sent(body: Iterable[bytes]) -> Iterator[bytes]:
    """Yield ``body`` and then mark the call as sent: the pool asks for another chunk once the last one is written."""
    yield from body
    current_watch().sent = True


class _CountedStream(httpx2.SyncByteStream):
    """The bytes of a response body, counted by the call's watch."""

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
        timeout = bounded_timeout(current_watch(), CONNECT_TIMEOUT)
        # A pooled connection outlives the call, so each operation looks up the current one.
        return _CallStream(
            self._backend.connect_tcp(host, port, timeout, local_address, socket_options), watch=current_watch
        )


class _CallStream(WatchedStream):
    """A connection that asks for the call's permit before its first write."""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        current_watch().before_write()
        super().write(buffer, timeout)
