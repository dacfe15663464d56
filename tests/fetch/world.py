"""An internet for tests: hosts with names, addresses and certificates, all of them one server on loopback.

The connector is the real one, with its rules in force: it asks for names here, dials the addresses that it was given,
and speaks TLS with a server that has a certificate for them. Only the last step leads elsewhere: whatever address is
dialled, the connection goes to loopback, and the address is written down.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import trustme

from generation_worker.domain.errors import AttemptStopped, AttemptTimedOut
from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.connector import Connector, dial_tcp
from generation_worker.fetch.fetcher import WebFetcher
from generation_worker.ports import Watch
from tests.fetch.pages import image
from tests.simulators.replies import Reply, raw_reply
from tests.simulators.server import Exchange, SimulatorServer

PUBLIC, ALSO_PUBLIC, PUBLIC_V6 = "93.184.215.14", "1.1.1.1", "2606:4700::1111"
HOST, OTHER, URL = "images.example.com", "cdn.example.net", "https://images.example.com/cat.png"
MIB = 1024 * 1024


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Site:
    """Answers by path."""

    address_setting = "SITE"
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.pages: dict[str, Reply] = {"/cat.png": image()}
        self.asked: list[Asked] = []
        self.greeted_as: list[str | None] = []
        """The name that each client expects, as TLS says it (SNI)."""

    def accepts(self, path: str) -> bool:
        return True

    def answer(self, exchange: Exchange) -> None:
        self.asked.append(Asked(exchange.method, exchange.path, exchange.headers, exchange.body))
        self.pages.get(urlsplit(exchange.path).path, raw_reply(b"nothing here", 404))(exchange)

    @property
    def hosts(self) -> list[str]:
        return [asked.headers["host"] for asked in self.asked]


class Attempt:
    """A watch: may go on for a minute, unless it is stopped."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.checks = 0
        self._deadline = time.monotonic() + seconds
        self._reason: type[AttemptStopped] | None = None
        self._last = float("inf")

    def stop(self, reason: type[AttemptStopped]) -> None:
        self._reason = reason

    def stop_after(self, checks: int, reason: type[AttemptStopped]) -> Attempt:
        """As if it were stopped while somebody waits."""
        self._reason, self._last = reason, checks
        return self

    def check(self) -> None:
        self.checks += 1
        if self._reason is not None and (self._last == float("inf") or self.checks > self._last):
            raise self._reason
        if time.monotonic() >= self._deadline:
            raise AttemptTimedOut

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


@dataclass
class World:
    site: Site
    port: int
    trust: ssl.SSLContext
    names: dict[str, list[Sequence[str]]] = field(
        default_factory=lambda: {HOST: [[PUBLIC]], OTHER: [[ALSO_PUBLIC]], "wrong.example.org": [[PUBLIC]]}
    )
    """What the name server says, time after time; its last answer stays."""
    looked_up: list[str] = field(default_factory=list[str])
    dialled: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    refusing: set[str] = field(default_factory=set[str])
    """Addresses that take no connection."""

    def resolve(self, host: str) -> Sequence[str]:
        self.looked_up.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def dial(self, address: str, port: int, watch: Watch) -> socket.socket:
        self.dialled.append((address, port))
        if address in self.refusing:
            raise ConnectionRefusedError
        return dial_tcp("127.0.0.1", self.port, watch)

    def connector(self, **changes: Any) -> Connector:
        values: dict[str, Any] = {"resolve": self.resolve, "dial": self.dial, "trust": self.trust, **changes}
        return Connector(**values)

    def fetcher(
        self, *, timeout: float = 30.0, most_bytes: int = MIB, cache: DiskCache | None = None, **changes: Any
    ) -> WebFetcher:
        return WebFetcher(self.connector(**changes), timeout=timeout, most_bytes=most_bytes, cache=cache)


def server_with(site: Site, ca: trustme.CA, **certificate: Any) -> SimulatorServer:
    """The site, with a certificate for every name and address that tests use."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued: Any = ca.issue_cert(HOST, OTHER, PUBLIC, PUBLIC_V6, "localhost", "127.0.0.1", **certificate)
    issued.configure_cert(tls)
    tls.sni_callback = lambda _, name, __: site.greeted_as.append(name)
    return SimulatorServer([site], tls=tls)
