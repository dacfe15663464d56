"""The addresses of a host's name: asked for once, and all of them judged.

The system's resolver cannot be interrupted, and a name server that does not answer holds it for half a minute. So it
runs in a thread of its own, which is left behind when nobody waits for it any more; there are never more than a few.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

from generation_worker.domain.addresses import Address, read_address, why_not_public
from generation_worker.fetch.failures import AddressRefused, NotReached
from generation_worker.net.watched import SLICE, within
from generation_worker.ports import Watch

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
