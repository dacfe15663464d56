"""HTTP with hosts that users have named: connected to the address that was checked, and to no other.

The usual clients take a name, and ask for its address when they connect: after every check, and again at every
redirect, so a name server that answers twice differently has its way. They also follow proxies of the environment and
keep cookies. Here the order is seen from one function: the name is resolved once, all its addresses are judged, one of
them is dialled as a number, TLS proves the name on that very connection, and only then is HTTP spoken over it, by
httpcore2's HTTP11Connection, which is handed the open connection and has no means to open another. No redirect is
followed; who may follow one asks again, from the beginning.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import httpcore2

from generation_worker.domain.urls import Url
from generation_worker.fetch.connect import Dial, connect, dial_tcp, secure, system_trust
from generation_worker.fetch.failures import BrokenOff
from generation_worker.fetch.resolve import Resolve, addresses_of, system_resolve
from generation_worker.fetch.socket_stream import SocketStream
from generation_worker.net.watched import WatchedStream
from generation_worker.ports import Watch

NO_ANSWER = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, names in lower case, as soon as they are there. ``chunks`` come while they are asked for.

    Iterating raises BrokenOff, and as the watch does.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterator[bytes]

    def header(self, name: str) -> str | None:
        """Its value; of several, all with commas between them, as HTTP has it."""
        return ", ".join(value for key, value in self.headers if key == name) or None


class Connector:
    """Asks public hosts, or with ``allow_private`` any host. Safe to use from many threads at once: nothing is shared.

    ``resolve``, ``dial`` and ``trust`` are the system's unless somebody has others.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = system_resolve,
        dial: Dial = dial_tcp,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.allow_private = allow_private
        self._resolve = resolve
        self._dial = dial
        self._given_trust = trust

    def warm_up(self) -> None:
        """Read the certificates of the authorities: a tenth of a second."""
        _ = self._trust

    @contextmanager
    def exchange(
        self, method: str, url: Url, headers: Mapping[str, str], watch: Watch, content: bytes = b""
    ) -> Generator[Answer]:
        """One request, and its answer while the block runs. ``watch`` bounds all of it, the reading too.

        Raises ExchangeFailed, and as ``watch`` does.
        """
        request = _request(method, url, headers, content)
        stream = self._open(url, watch)
        with _broken_off(), httpcore2.HTTP11Connection(request.url.origin, stream) as http:
            response = http.handle_request(request)
            chunks = cast("Iterable[bytes]", response.stream)
            yield Answer(
                response.status, [(_text(name).lower(), _text(value)) for name, value in response.headers], iter(chunks)
            )

    def _open(self, url: Url, watch: Watch) -> WatchedStream:
        """A connection to an address that was just checked; with TLS unless the URL is plain."""
        watch.check()
        addresses = addresses_of(url.host, self._resolve, watch, private=self.allow_private)
        connection = connect(addresses, url.port, self._dial, watch)
        if url.scheme == "https":
            connection = secure(connection, url.host, self._trust, watch)
        return WatchedStream(SocketStream(connection), watch=lambda: watch)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return self._given_trust or system_trust()


def _request(method: str, url: Url, headers: Mapping[str, str], content: bytes) -> httpcore2.Request:
    whole = [("Host", url.authority), *headers.items(), ("Connection", "close")]
    if method == "POST":
        whole.append(("Content-Length", str(len(content))))
    address = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
    return httpcore2.Request(method, address, headers=whole, content=content)


def _text(header: bytes) -> str:
    return header.decode("utf-8", "replace")


@contextmanager
def _broken_off() -> Generator[None]:
    """Whatever the library says of the connection means that there is no whole answer."""
    try:
        yield
    except NO_ANSWER:
        raise BrokenOff("broke off its answer, or did not speak HTTP") from None
