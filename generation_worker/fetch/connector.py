"""HTTP requests to hosts that users have named, connected only to an address that was checked.

An ordinary client takes a name and resolves it when it connects: after every check, and again at every redirect, so a
name server that gives two different answers gets past the check (DNS rebinding). It also follows proxies of the
environment and keeps cookies. Here the order is explicit: a name is resolved once, all its addresses are checked, one
of them is dialled as a number, TLS verifies the name on that connection, and only then httpcore2's HTTP11Connection
sends the request over it. It is given the open connection and cannot open another. Redirects are not followed; a caller
that follows one starts a new request, with all checks.
"""

import errno
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, cast

import certifi
import httpcore2

from generation_worker.domain.urls import Address, Url, read_address, why_not_public
from generation_worker.net import POLL_INTERVAL, WatchedStream, bounded_timeout
from generation_worker.ports import Watch

Clock = Callable[[], float]
Resolve = Callable[[str], Sequence[str]]
"""Returns the addresses of a name, the preferred one first. Raises OSError."""
Dial = Callable[[str, int, Watch], socket.socket]
"""Connects to an address and port. Raises OSError, and what the watch raises."""

CONNECT_TIMEOUT = 10.0
"""Seconds for one address; then the next one is tried."""
MOST_ADDRESSES = 4
"""Addresses of one host that are tried."""
MOST_LOOKUPS = 32
"""Names that are resolved at the same time, including abandoned lookups."""
IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)
NETWORK_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


class RequestFailed(Exception):
    """There is no complete response. ``reason`` is a predicate of the host's name, as in “did not accept a connection”.

    RequestFailed
    ├── AddressRefused      not on the public internet: retrying does not help
    ├── CertificateRefused  the host cannot prove its name
    ├── ConnectFailed       no address, or no connection
    ├── ConnectionBroken    the connection ended before or in the response
    └── DeadlineExceeded    the response was not complete in time

    A reason contains no address: users must not learn which internal addresses a name has.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AddressRefused(RequestFailed):
    pass


class CertificateRefused(RequestFailed):
    pass


class ConnectFailed(RequestFailed):
    pass


class ConnectionBroken(RequestFailed):
    pass


class DeadlineExceeded(RequestFailed):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not send a complete response within {round(seconds, 1):g} s")


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """Status and headers, with names in lower case, as soon as they have arrived. ``chunks`` reads the body.

    Reading it raises ConnectionBroken, and what the watch raises.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterator[bytes]

    def header(self, name: str) -> str | None:
        """The header's value; several of the same name are joined by commas, as HTTP prescribes."""
        return ", ".join(value for key, value in self.headers if key == name) or None


class DeadlineWatch:
    """``watch``, and a deadline in ``seconds`` from now, after which ``check`` raises DeadlineExceeded.

    It covers a whole request, from resolving the name to the last byte of the body.
    """

    def __init__(self, watch: Watch, seconds: float, clock: Clock = time.monotonic) -> None:
        self._watch = watch
        self._seconds = seconds
        self._clock = clock
        self._deadline = clock() + seconds

    def check(self) -> None:
        self._watch.check()
        if self._clock() >= self._deadline:
            raise DeadlineExceeded(self._seconds)

    def seconds_left(self) -> float:
        return max(0.0, min(self._deadline - self._clock(), self._watch.seconds_left()))


class Connector:
    """Sends requests to public hosts, or with ``allow_private`` to any host. Safe to use from many threads at once.

    Connections are not reused. ``resolve``, ``dial`` and ``trust`` are the system's by default.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        dial: Dial | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.allow_private = allow_private
        self._resolve = resolve or system_resolve
        self._dial = dial or dial_tcp
        self._given_trust = trust

    def warm_up(self) -> None:
        """Load the certificates of the authorities, which takes a tenth of a second."""
        _ = self._trust

    @contextmanager
    def request(
        self, method: str, url: Url, headers: Mapping[str, str], watch: Watch, content: bytes = b""
    ) -> Generator[StreamedResponse]:
        """Send one request; its response can be read inside the block. ``watch`` bounds both.

        Raises RequestFailed, and what ``watch`` raises.
        """
        request = _request(method, url, headers, content)
        stream = self._open(url, watch)
        with _broken_connections(), httpcore2.HTTP11Connection(request.url.origin, stream) as http:
            response = http.handle_request(request)
            chunks = cast("Iterable[bytes]", response.stream)
            names_and_values = [(_text(name).lower(), _text(value)) for name, value in response.headers]
            yield StreamedResponse(response.status, names_and_values, iter(chunks))

    def _open(self, url: Url, watch: Watch) -> WatchedStream:
        """Connect to an address that was checked just now, with TLS for an https URL."""
        watch.check()
        addresses = resolve_addresses(url.host, self._resolve, watch, private=self.allow_private)
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
def _broken_connections() -> Generator[None]:
    """Raise every error of the library about the connection as ConnectionBroken."""
    try:
        yield
    except NETWORK_ERRORS:
        raise ConnectionBroken("ended the connection before its response was complete, or did not speak HTTP") from None


def resolve_addresses(host: str, resolve: Resolve, watch: Watch, *, private: bool) -> list[Address]:
    """The addresses of ``host``, a name or an address, that may be connected to; at least one.

    Unless ``private``, all of them must be public: a single private one reveals an internal network, whichever address
    the connection would use. Raises AddressRefused, ConnectFailed, and what ``watch`` raises.
    """
    texts = [host] if _is_address(host) else _look_up(host, resolve, watch)
    addresses = [_read(text) for text in texts]
    if not addresses:
        raise ConnectFailed("has no address")
    if not private and (belongs_to := next(filter(None, map(why_not_public, addresses)), None)):
        raise AddressRefused(f"has an address that is not public: it belongs to {belongs_to}")
    return addresses


def system_resolve(host: str) -> list[str]:
    """Resolve as every program on this machine does: /etc/hosts, then the name servers. Raises OSError."""
    # As bytes: Python encodes text with its own codec for names, which raises other errors.
    found = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_address(host: str) -> bool:
    try:
        read_address(host)
    except ValueError:
        return False
    return True


def _read(text: str) -> Address:
    try:
        return read_address(text)
    except ValueError:
        raise AddressRefused("has an address that is valid on one machine only") from None


def _look_up(host: str, resolve: Resolve, watch: Watch) -> Sequence[str]:
    while not _lookups.acquire(timeout=bounded_timeout(watch, POLL_INTERVAL)):
        pass
    try:
        lookup = _Lookup(host, resolve)
    except RuntimeError:  # no thread can be started now
        _lookups.release()
        raise ConnectFailed("could not be looked up: this machine is out of threads") from None
    while not lookup.done.wait(bounded_timeout(watch, POLL_INTERVAL)):
        pass
    if lookup.found is None:
        raise ConnectFailed("could not be found by its name")
    return lookup.found


class _Lookup:
    """A lookup in its own thread, because the system's resolver cannot be interrupted.

    A name server that does not respond blocks the resolver for half a minute; the caller then abandons the thread. The
    number of threads is bounded, and a thread counts until its lookup has ended, not until its caller has left.
    """

    def __init__(self, host: str, resolve: Resolve) -> None:
        self.done = threading.Event()
        self.found: Sequence[str] | None = None
        self._host = host
        self._resolve = resolve
        threading.Thread(target=self._run, name="lookup", daemon=True).start()

    def _run(self) -> None:
        try:
            self.found = self._resolve(self._host)
        except OSError:
            pass  # the caller raises ConnectFailed
        finally:
            _lookups.release()
            self.done.set()


_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


def connect(addresses: Sequence[Address], port: int, dial: Dial, watch: Watch) -> socket.socket:
    """Connect to the first of ``addresses`` that accepts. Raises ConnectFailed, and what ``watch`` raises."""
    for address in addresses[:MOST_ADDRESSES]:
        try:
            return dial(str(address), port, watch)
        except OSError:
            watch.check()
    raise ConnectFailed("did not accept a connection")


def dial_tcp(address: str, port: int, watch: Watch) -> socket.socket:
    """Connect to ``address``, a number, so nothing is left to resolve. Raises OSError, and what ``watch`` raises."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if _connected(connection, (address, port), watch):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        raise TimeoutError(f"not connected within {CONNECT_TIMEOUT:g} s")
    except BaseException:
        connection.close()
        raise


def _connected(connection: socket.socket, address: tuple[str, int], watch: Watch) -> bool:
    """Connect within CONNECT_TIMEOUT, else return False. Raises OSError if the connection is refused."""
    deadline = time.monotonic() + CONNECT_TIMEOUT
    problem = connection.connect_ex(address)
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while problem in IN_PROGRESS:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if poll.poll(bounded_timeout(watch, min(POLL_INTERVAL, left)) * 1000):
            problem = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise OSError(problem, "no connection")
    return True


def system_trust() -> ssl.SSLContext:
    """The authorities of this machine or of SSL_CERT_FILE, and Mozilla's: a slim image may have none."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


def secure(connection: socket.socket, host: str, trust: ssl.SSLContext, watch: Watch) -> ssl.SSLSocket:
    """Start TLS with ``host``, whose certificate must be for that name or address. Takes over ``connection``.

    Raises CertificateRefused, ConnectionBroken, and what ``watch`` raises, after it has closed the connection.
    """
    try:
        connection = secured = trust.wrap_socket(
            connection,
            server_hostname=host,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,  # a connection that is cut must not look like the end of the response
        )
        _shake_hands(secured, watch)
        return secured
    except BaseException as error:
        connection.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise CertificateRefused(f"has no certificate that proves its name ({error.verify_message})") from None
        if isinstance(error, OSError):
            raise ConnectionBroken("did not complete the TLS handshake") from None
        raise


def _shake_hands(secured: ssl.SSLSocket, watch: Watch) -> None:
    while True:
        secured.settimeout(bounded_timeout(watch, POLL_INTERVAL))
        try:
            return secured.do_handshake()
        except TimeoutError:
            pass  # one slice is over; OpenSSL continues the handshake


class SocketStream(httpcore2.NetworkStream):
    """A connected socket, with TLS or without, as a network stream of httpcore2."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated_errors(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._connection.settimeout(timeout)
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated_errors(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._connection.settimeout(timeout)
            self._connection.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NoReturn:
        raise NotImplementedError  # TLS is started by ``secure`` only

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - called by connection pools only
        return None


@contextmanager
def _translated_errors(timed_out: type[Exception], failed: type[Exception]) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from None
    except OSError as error:
        raise failed(str(error)) from None
