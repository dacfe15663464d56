"""HTTP with hosts that users have named: connected to the address that was checked, and to no other.

The usual clients take a name, and ask for its address when they connect: after every check, and again at every
redirect, so a name server that answers twice differently has its way. They also follow proxies of the environment and
keep cookies. Here the order is seen from one function: the name is resolved once, all its addresses are judged, one of
them is dialled as a number, TLS proves the name on that very connection, and only then is HTTP spoken over it, by
httpcore2's HTTP11Connection, which is handed the open connection and has no means to open another. No redirect is
followed; who may follow one asks again, from the beginning.
"""

from __future__ import annotations

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

from generation_worker.domain.errors import InputNotFound, InputRejected, InputUnavailable
from generation_worker.domain.urls import Address, Url, read_address, why_not_public
from generation_worker.net.watched import SLICE, WatchedStream, within
from generation_worker.ports import Watch

# Why there is no answer from an address that a user has named. Each reason follows the host's name in a sentence.
#
# ExchangeFailed
# ├── AddressRefused      not on the public internet: the same again tomorrow
# ├── CertificateRefused  the host cannot prove its name
# ├── NotReached          no address, no connection
# ├── BrokenOff           the connection ended before the answer, or in it
# └── TimeUp              not all of it within the time for it


class ExchangeFailed(Exception):
    """There is no answer. The reason names no address: who asks must not learn what a name leads to in here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AddressRefused(ExchangeFailed):
    pass


class CertificateRefused(ExchangeFailed):
    pass


class NotReached(ExchangeFailed):
    pass


class BrokenOff(ExchangeFailed):
    pass


class TimeUp(ExchangeFailed):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not send its whole answer within {round(seconds, 1):g} s")


# Connections to an address, never to a name; and TLS on top of them, with the name that the certificate must have.
#
# Everything waits in short slices: a connect or a handshake that hangs is left as soon as the watch says so.


Dial = Callable[[str, int, Watch], socket.socket]
"""A connection to an address and port. Raises OSError, and as the watch does."""

CONNECT_WITHIN = 10.0
"""Seconds for one address. The next one has its chance then."""
MOST_ADDRESSES = 4
"""So many addresses of one host are tried."""
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)


def system_trust() -> ssl.SSLContext:
    """The authorities that this machine trusts, or SSL_CERT_FILE names, and Mozilla's: a slim image may have none."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


def connect(addresses: Sequence[Address], port: int, dial: Dial, watch: Watch) -> socket.socket:
    """A connection to the first of ``addresses`` that takes it. Raises NotReached, and as ``watch`` does."""
    for address in addresses[:MOST_ADDRESSES]:
        try:
            return dial(str(address), port, watch)
        except OSError:
            watch.check()
    raise NotReached("did not take a connection")


def dial_tcp(address: str, port: int, watch: Watch) -> socket.socket:
    """Connect to ``address``, which is a number, so that nothing is left to resolve. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if _connected(connection, (address, port), watch):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        raise TimeoutError(f"not connected within {CONNECT_WITHIN:g} s")
    except BaseException:
        connection.close()
        raise


def _connected(connection: socket.socket, place: tuple[str, int], watch: Watch) -> bool:
    """Whether it is within its time. Raises OSError if it is refused."""
    until = time.monotonic() + CONNECT_WITHIN
    problem = connection.connect_ex(place)
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while problem in _UNDER_WAY:
        left = until - time.monotonic()
        if left <= 0:
            return False
        if poll.poll(within(watch, min(SLICE, left)) * 1000):
            problem = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise OSError(problem, "no connection")
    return True


def secure(connection: socket.socket, host: str, trust: ssl.SSLContext, watch: Watch) -> ssl.SSLSocket:
    """TLS with ``host``, whose certificate must be for that name or address; ``connection`` belongs to the answer.

    Raises CertificateRefused, BrokenOff, and as ``watch`` does; the connection is closed then.
    """
    try:
        connection = secured = trust.wrap_socket(
            connection,
            server_hostname=host,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,  # who cuts the connection must not pass for who has said everything
        )
        _shake_hands(secured, watch)
        return secured
    except BaseException as error:
        connection.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            raise CertificateRefused(f"has no certificate that proves its name ({error.verify_message})") from None
        if isinstance(error, OSError):
            raise BrokenOff("did not agree on a secure connection") from None
        raise


def _shake_hands(secured: ssl.SSLSocket, watch: Watch) -> None:
    while True:
        secured.settimeout(within(watch, SLICE))
        try:
            return secured.do_handshake()
        except TimeoutError:
            pass  # only a slice is over; OpenSSL goes on where it was


# The addresses of a host's name: asked for once, and all of them judged.
#
# The system's resolver cannot be interrupted, and a name server that does not answer holds it for half a minute. So it
# runs in a thread of its own, which is left behind when nobody waits for it any more; there are never more than a few.


Resolve = Callable[[str], Sequence[str]]
"""The addresses of a name, the preferred one first. Raises OSError."""

MOST_LOOKUPS = 32
"""Names that are asked for at the same time, those that nobody waits for any more among them."""

_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)


def system_resolve(host: str) -> list[str]:
    """As every program on this machine would: /etc/hosts first, then the name servers. Raises OSError."""
    # As bytes: text would go through Python's own encoding of names, which raises other errors.
    found = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def addresses_of(host: str, resolve: Resolve, watch: Watch, *, private: bool) -> list[Address]:
    """Where ``host``, a name or an address, may be connected to; at least one address.

    All of its addresses must be public unless ``private``: one that is not tells of a network that is none of a user's
    business, whichever of them a connection would take. Raises AddressRefused, NotReached, and as ``watch`` does.
    """
    texts = [host] if _is_address(host) else _look_up(host, resolve, watch)
    addresses = [_read(text) for text in texts]
    if not addresses:
        raise NotReached("has no address")
    if not private and (belongs_to := next(filter(None, map(why_not_public, addresses)), None)):
        raise AddressRefused(f"has an address that is not public but belongs to {belongs_to}")
    return addresses


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
        raise AddressRefused("has an address that means something on one machine only") from None


def _look_up(host: str, resolve: Resolve, watch: Watch) -> Sequence[str]:
    while not _lookups.acquire(timeout=within(watch, SLICE)):
        pass
    try:
        lookup = _Lookup(host, resolve)
    except RuntimeError:  # no thread can be started just now
        _lookups.release()
        raise NotReached("could not be looked up: this machine is out of threads") from None
    while not lookup.done.wait(within(watch, SLICE)):
        pass
    if lookup.found is None:
        raise NotReached("could not be found by its name")
    return lookup.found


class _Lookup:
    """A question in a thread of its own. It gives its place back when it is answered, not when nobody waits."""

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
            pass  # nothing was found; the waiter says so
        finally:
            _lookups.release()
            self.done.set()


# A socket as httpcore2 wants to see it.


class SocketStream(httpcore2.NetworkStream):
    """Reads and writes ``connection``, which is secure already if it is to be."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._connection.settimeout(timeout)
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._connection.settimeout(timeout)
            self._connection.sendall(buffer)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NoReturn:
        raise NotImplementedError  # nobody but ``secure`` decides about that

    def close(self) -> None:
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - only a pool asks
        return None


@contextmanager
def _translated(timed_out: type[Exception], failed: type[Exception]) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from None
    except OSError as error:
        raise failed(str(error)) from None


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


# What an answer means for an input: an image, not there, not now, or never.


GONE = (404, 410)
LATER = (408, 425, 429)
"""And everything from 500 on: the same request may be answered another time."""
REFUSED = (401, 403)
UNNAMED_TYPES = ("", "application/octet-stream", "binary/octet-stream")
"""Said by storages of whatever they were not told the type of."""


def check_answer(host: str, answer: Answer) -> None:
    """Return if the answer's body is to be read. Raises InputRejected, InputNotFound or InputUnavailable."""
    status = answer.status
    if status in GONE:
        raise InputNotFound(f"{host} has nothing at an input's url (status {status}).")
    if status in LATER or status >= 500:
        raise InputUnavailable(f"{host} could not send an input just now (status {status}).")
    if status in REFUSED:
        raise InputRejected(
            f"{host} does not let us have an input (status {status}): its url must work without a login, and a signed "
            "one must not have expired."
        )
    if status != 200:
        raise InputRejected(f"{host} answered an input's url with status {status} instead of an image.")
    _check_form(host, answer)


def too_large(host: str, most: int) -> InputRejected:
    return InputRejected(f"An input at {host} is larger than the {most // 2**20} MiB that are fetched (FETCH_MAX_MB).")


def _check_form(host: str, answer: Answer) -> None:
    kind = (answer.header("content-type") or "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in UNNAMED_TYPES:
        raise InputRejected(f"{host} answered an input's url with {kind[:50]!r}, which is no image type.")
    encoding = (answer.header("content-encoding") or "identity").lower()
    if encoding != "identity":
        raise InputRejected(
            f"{host} sends an input compressed ({encoding[:50]!r}) though asked not to: serve it plain."
        )


# A bound on the whole of one exchange, from asking the name server to the last byte.


Clock = Callable[[], float]


class TimeLimit:
    """``watch``, and ``seconds`` from now at most. ``check`` raises TimeUp when they are over."""

    def __init__(self, watch: Watch, seconds: float, clock: Clock = time.monotonic) -> None:
        self._watch = watch
        self._seconds = seconds
        self._clock = clock
        self._deadline = clock() + seconds

    def check(self) -> None:
        self._watch.check()
        if self._clock() >= self._deadline:
            raise TimeUp(self._seconds)

    def seconds_left(self) -> float:
        return max(0.0, min(self._deadline - self._clock(), self._watch.seconds_left()))
