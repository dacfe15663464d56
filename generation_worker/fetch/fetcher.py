"""Fetches input images by URL: a GET to a public host, with every redirect checked and the size bounded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from urllib.parse import urljoin

from generation_worker.domain.errors import InputError, InputNotFound, InputRejected, InputUnavailable
from generation_worker.domain.urls import Url, parse_url
from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.connector import (
    AddressRefused,
    CertificateRefused,
    Connector,
    DeadlineWatch,
    RequestFailed,
    StreamedResponse,
)
from generation_worker.net import POLL_INTERVAL, bounded_timeout
from generation_worker.ports import Watch

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = {
    "User-Agent": "generation-worker",
    "Accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
    "Accept-Encoding": "identity",  # the size of compressed data cannot be bounded
}
GONE = (404, 410)
TEMPORARY = (408, 425, 429)
"""Together with all statuses from 500 on: a later request may succeed."""
FORBIDDEN = (401, 403)
UNKNOWN_TYPES = ("", "application/octet-stream", "binary/octet-stream")
"""Content types that a storage sends for objects whose type it does not know."""


class WebFetcher:
    """Fetches input images. Safe to use from many threads at once.

    ``timeout`` bounds one URL including its redirects, in seconds; at most ``most_bytes`` of it are read. Fetched
    inputs are kept in ``cache``, if there is one, and threads that fetch the same URL at the same time share a request.
    """

    def __init__(
        self, connector: Connector, *, timeout: float, most_bytes: int, cache: DiskCache | None = None
    ) -> None:
        self._connector = connector
        self._timeout = timeout
        self._most_bytes = most_bytes
        self._cache = cache
        self._pending = PendingFetches()

    def warm_up(self) -> None:
        self._connector.warm_up()

    def fetch(self, url: str, watch: Watch) -> bytes:
        """The image at ``url``. Raises InputRejected, InputNotFound, InputUnavailable, and what ``watch`` raises."""
        watch.check()
        address = self._parse(url)
        key = self._key(address)
        return self._pending.deduplicate(key, lambda: self._cached(key, address, watch), watch)

    def _key(self, address: Url) -> str:
        """A cache key that does not reveal the URL. A fetcher for public hosts finds no inputs of private ones."""
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
        limited = DeadlineWatch(watch, self._timeout)
        for _ in range(MOST_REDIRECTS + 1):
            found = self._request(address, limited)
            if isinstance(found, bytes):
                return found
            address = found
        raise InputRejected(f"An input's url redirects more than {MOST_REDIRECTS} times: use the image's own address.")

    def _request(self, address: Url, watch: Watch) -> bytes | Url:
        """The image, or the address to which the host redirects."""
        try:
            with self._connector.request("GET", address, HEADERS, watch) as response:
                if response.status in REDIRECTS and (location := response.header("location")):
                    return self._parse(location, f"{address.host} redirects: its url", base=address.text)
                _check_response(address.host, response)
                return self._body(address.host, response)
        except (AddressRefused, CertificateRefused) as error:
            raise InputRejected(f"The host {address.host} of an input's url {error.reason}.") from None
        except RequestFailed as error:
            raise InputUnavailable(f"The host {address.host} of an input's url {error.reason}.") from None

    def _body(self, host: str, response: StreamedResponse) -> bytes:
        announced = response.header("content-length") or "0"
        if announced.isdecimal() and int(announced) > self._most_bytes:
            raise _too_large(host, self._most_bytes)
        body = bytearray()
        for chunk in response.chunks:
            body += chunk
            if len(body) > self._most_bytes:
                raise _too_large(host, self._most_bytes)
        return bytes(body)

    def _parse(self, url: str, name: str = "An input's url", *, base: str | None = None) -> Url:
        try:
            return parse_url(urljoin(base, url) if base else url, private=self._connector.allow_private)
        except ValueError as error:
            raise InputRejected(f"{name} {error}.") from None


class PendingFetches:
    """Deduplicates concurrent fetches of the same key in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, _PendingFetch] = {}

    def deduplicate(self, key: str, fetch: Callable[[], bytes], watch: Watch) -> bytes:
        """The result of ``fetch``, or of a fetch of the same key that another thread is doing now.

        Raises what that fetch and ``watch`` raise.
        """
        while True:
            pending, is_new = self._join(key)
            if is_new:
                return self._run(key, pending, fetch)
            while not pending.done.wait(bounded_timeout(watch, POLL_INTERVAL)):
                pass
            if pending.data is not None:
                return pending.data
            if pending.error is not None:
                raise type(pending.error)(pending.error.message)
            # The other job was cancelled or lost its lease: one of the waiting threads starts a new fetch.

    def _join(self, key: str) -> tuple[_PendingFetch, bool]:
        with self._lock:
            if pending := self._pending.get(key):
                return pending, False
            self._pending[key] = pending = _PendingFetch()
            return pending, True

    def _run(self, key: str, pending: _PendingFetch, fetch: Callable[[], bytes]) -> bytes:
        try:
            pending.data = fetch()
            return pending.data
        except InputError as error:
            pending.error = error
            raise
        finally:
            with self._lock:
                del self._pending[key]
            pending.done.set()


class _PendingFetch:
    """A running fetch. When ``done``, one of ``data`` and ``error`` is set; neither if its job was stopped."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.data: bytes | None = None
        self.error: InputError | None = None


def _check_response(host: str, response: StreamedResponse) -> None:
    """Return if the body can be an image. Raises InputRejected, InputNotFound or InputUnavailable."""
    status = response.status
    if status in GONE:
        raise InputNotFound(f"{host} has nothing at an input's url (status {status}).")
    if status in TEMPORARY or status >= 500:
        raise InputUnavailable(f"{host} could not send an input now (status {status}).")
    if status in FORBIDDEN:
        raise InputRejected(
            f"{host} denies access to an input (status {status}): its url must work without a login, and a signed one "
            "must not have expired."
        )
    if status != 200:
        raise InputRejected(f"{host} answered an input's url with status {status} instead of an image.")
    kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in UNKNOWN_TYPES:
        raise InputRejected(f"{host} answered an input's url with {kind[:50]!r}, which is not an image type.")
    encoding = (response.header("content-encoding") or "identity").lower()
    if encoding != "identity":
        raise InputRejected(
            f"{host} sends an input compressed ({encoding[:50]!r}) although the request forbids it: serve it "
            "uncompressed."
        )


def _too_large(host: str, most: int) -> InputRejected:
    return InputRejected(f"An input at {host} is larger than the {most // 2**20} MiB of FETCH_MAX_MB.")
