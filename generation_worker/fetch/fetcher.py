"""Gets input images by URL: a GET to a public host, its redirects judged one by one, and no more than an image."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from urllib.parse import urljoin

from generation_worker.domain.errors import InputError, InputRejected, InputUnavailable
from generation_worker.domain.urls import Url, parse_url
from generation_worker.fetch import connector as failures
from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.connector import Answer, Connector, TimeLimit, check_answer, too_large
from generation_worker.net.watched import SLICE, within
from generation_worker.ports import Watch

# One fetch at a time for each URL, however many jobs of this process ask for it.


class _Flight:
    """A fetch under way. Whoever waits finds one of ``data`` and ``error`` at its end, or neither."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.data: bytes | None = None
        self.error: InputError | None = None


class Flights:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def share(self, key: str, fetch: Callable[[], bytes], watch: Watch) -> bytes:
        """What ``fetch`` brings, or what somebody else's for the same key does. Raises as they do, and as ``watch``."""
        while True:
            flight, mine = self._join(key)
            if mine:
                return self._lead(key, flight, fetch)
            while not flight.over.wait(within(watch, SLICE)):
                pass
            if flight.data is not None:
                return flight.data
            if flight.error is not None:
                raise type(flight.error)(flight.error.message)
            # That job was cancelled or lost: the next one fetches for itself, and for who else waits.

    def _join(self, key: str) -> tuple[_Flight, bool]:
        with self._lock:
            if flight := self._flights.get(key):
                return flight, False
            self._flights[key] = flight = _Flight()
            return flight, True

    def _lead(self, key: str, flight: _Flight, fetch: Callable[[], bytes]) -> bytes:
        try:
            flight.data = fetch()
            return flight.data
        except InputError as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.over.set()


MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = {
    "User-Agent": "generation-worker",
    "Accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
    "Accept-Encoding": "identity",  # what is compressed has no size that could be bounded
}


class WebFetcher:
    """``timeout`` seconds for everything of one URL, redirects too; ``most_bytes`` of it are read at most.

    What was fetched is kept in ``cache``, if there is one, for other jobs; jobs of this process that ask for the same
    URL at the same time wait for one fetch.
    """

    def __init__(
        self, connector: Connector, *, timeout: float, most_bytes: int, cache: DiskCache | None = None
    ) -> None:
        self._connector = connector
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._cache = cache
        self._flights = Flights()

    def warm_up(self) -> None:
        self._connector.warm_up()

    def fetch(self, url: str, watch: Watch) -> bytes:
        """Raises InputRejected, InputNotFound, InputUnavailable, and as ``watch`` does."""
        watch.check()
        address = self._read(url)
        key = self._key(address)
        return self._flights.share(key, lambda: self._cached(key, address, watch), watch)

    def _key(self, address: Url) -> str:
        """A name for what lies there that tells nothing of it. Who may not ask private hosts finds none of theirs."""
        allowed = "any" if self._connector.allow_private else "public"
        return hashlib.sha256(f"{allowed} {address.text}".encode()).hexdigest()

    def _cached(self, key: str, address: Url, watch: Watch) -> bytes:
        if self._cache is None:
            return self._download(address, watch)
        data = self._cache.get(key, most_bytes=self._most_bytes)
        if data is None:
            data = self._download(address, watch)
            self._cache.put(key, data)
        return data

    def _download(self, address: Url, watch: Watch) -> bytes:
        limited = TimeLimit(watch, self._timeout)
        for _ in range(MOST_REDIRECTS + 1):
            found = self._ask(address, limited)
            if isinstance(found, bytes):
                return found
            address = found
        raise InputRejected(f"An input's url leads on more than {MOST_REDIRECTS} times: name the image's own address.")

    def _ask(self, address: Url, watch: Watch) -> bytes | Url:
        """The image, or where else it is said to be."""
        try:
            with self._connector.exchange("GET", address, HEADERS, watch) as answer:
                if answer.status in REDIRECTS and (location := answer.header("location")):
                    return self._read(location, f"{address.host} leads on: its url", base=address.text)
                check_answer(address.host, answer)
                return self._body(address.host, answer)
        except (failures.AddressRefused, failures.CertificateRefused) as error:
            raise InputRejected(f"The host {address.host} of an input's url {error.reason}.") from None
        except failures.ExchangeFailed as error:
            raise InputUnavailable(f"The host {address.host} of an input's url {error.reason}.") from None

    def _body(self, host: str, answer: Answer) -> bytes:
        announced = answer.header("content-length") or "0"
        if announced.isdecimal() and int(announced) > self._most_bytes:
            raise too_large(host, self._most_bytes)
        body = bytearray()
        for chunk in answer.chunks:
            body += chunk
            if len(body) > self._most_bytes:
                raise too_large(host, self._most_bytes)
        return bytes(body)

    def _read(self, url: str, name: str = "An input's url", *, base: str | None = None) -> Url:
        try:
            return parse_url(urljoin(base, url) if base else url, private=self._connector.allow_private)
        except ValueError as error:
            raise InputRejected(f"{name} {error}.") from None
