"""The webhooks of a simulated Replicate: sent when a prediction has ended, signed, and again while they are refused.

A word of the prompt asks for another way, see MANNERS: ``hook:twice``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.canaries.values import REPLICATE_WEBHOOK

SECRET = REPLICATE_WEBHOOK
OTHER_SECRET = "whsec_" + base64.b64encode(b"of somebody else, no doubt").decode()
MANNERS = {
    "early": "before the request to create is answered, the prediction having ended",
    "premature": "at once, though nothing has ended; and not at the end",
    "late": "when the picture has been fetched, so that nobody waits any more",
    "twice": "two times, as one and the same",
    "never": "not at all",
    "forged": "signed with another secret",
    "stale": "signed an hour ago",
}
WORD = re.compile(r"\bhook:(?P<manner>[a-z]+)")
TRIES = 6
FIRST_WAIT = 0.1
"""Seconds before a webhook that was refused is sent again, twice as long each time. Replicate takes longer."""


@dataclass(frozen=True)
class Hook:
    """Where a prediction's end is to be told, and in which manner."""

    address: str
    manner: str

    @classmethod
    def of(cls, address: str, prompt: str) -> Hook:
        word = WORD.search(prompt)
        return cls(address, word["manner"] if word else "")


@dataclass(frozen=True)
class Delivery:
    """One request that was sent; ``status`` is None if nobody answered."""

    prediction: str
    id: str
    status: int | None


class Hooks:
    """Sends, and keeps what was answered."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def send(self, hook: Hook, prediction: Mapping[str, Any], closing: threading.Event) -> None:
        """The webhook about ``prediction``, in the hook's manner, until it is taken."""
        body = json.dumps(prediction).encode()
        delivery = f"msg_{uuid.uuid4().hex}"
        for _ in range({"never": 0, "twice": 2}.get(hook.manner, 1)):
            self._send(hook, str(prediction["id"]), delivery, body, closing)

    def _send(self, hook: Hook, prediction: str, delivery: str, body: bytes, closing: threading.Event) -> None:
        for number in range(TRIES):
            secret = OTHER_SECRET if hook.manner == "forged" else SECRET
            signed_at = time.time() - (3600 if hook.manner == "stale" else 0)
            status = self._post(hook.address, signed(body, delivery, secret=secret, at=signed_at), body)
            self.deliveries.append(Delivery(prediction, delivery, status))
            if status is not None and status < 400:
                return
            if closing.wait(FIRST_WAIT * 2**number):
                return

    def _post(self, address: str, headers: Mapping[str, str], body: bytes) -> int | None:
        try:
            with httpx.Client(trust_env=False, timeout=10) as client:
                return client.post(address, headers=headers, content=body).status_code
        except httpx.HTTPError:
            return None


def signed(body: bytes, delivery: str, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """The headers of a webhook. Written down from Replicate's documentation, not by the library that verifies them."""
    moment = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{delivery}.{moment}.".encode() + body, hashlib.sha256)
    return {
        "content-type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
