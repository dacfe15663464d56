"""An app's endpoint on loopback: it verifies who sends, with the library that an app would use."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.simulators.replies import Reply, raw_reply
from tests.simulators.server import Exchange
from tests.support.webhooks import SECRET

TAKEN = raw_reply(b"", 204)


class Received(NamedTuple):
    """A request that was verified."""

    id: str
    type: str
    data: dict[str, Any]
    body: bytes


class Receiver:
    """Answers as ``replies`` say, by path, and remembers what came. What a secret did not sign gets no answer."""

    address_setting = "RECEIVER"
    environment: Mapping[str, str] = {}

    def __init__(self, *secrets: str) -> None:
        self.secrets = secrets or (SECRET,)
        self.replies: dict[str, Reply] = {}
        self._received: list[tuple[str, Received]] = []
        self._lock = threading.Lock()

    def accepts(self, path: str) -> bool:
        return True

    def answer(self, exchange: Exchange) -> None:
        message: dict[str, Any] = {}
        for secret in self.secrets:
            message = Webhook(secret).verify(exchange.body, dict(exchange.headers))
        received = Received(exchange.headers["webhook-id"], message["type"], message["data"], exchange.body)
        with self._lock:
            self._received.append((exchange.path, received))
        self.replies.get(exchange.path, TAKEN)(exchange)

    def at(self, path: str = "/hook") -> list[Received]:
        with self._lock:
            return [received for known, received in self._received if known == path]
