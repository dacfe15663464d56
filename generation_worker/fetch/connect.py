"""Connections to an address, never to a name; and TLS on top of them, with the name that the certificate must have.

Everything waits in short slices: a connect or a handshake that hangs is left as soon as the watch says so.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence

import certifi

from generation_worker.domain.addresses import Address
from generation_worker.fetch.failures import BrokenOff, CertificateRefused, NotReached
from generation_worker.net.watched import SLICE, within
from generation_worker.ports import Watch

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
