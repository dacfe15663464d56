"""A simulated Replicate: predictions that take their time, uploads, and the host that keeps the pictures.

A request gets the next reply that a test has scripted for its kind (see KINDS), or what the state says. What becomes of
a prediction is asked for by a word in its prompt, see WORDS: ``sim:slow=5`` is a picture after five seconds. Who names
a webhook is told of its end, see replicate_hooks.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.canaries.values import REPLICATE_TOKEN
from tests.simulators import replicate_bodies as bodies, replies
from tests.simulators.arrivals import Arrivals
from tests.simulators.pictures import picture
from tests.simulators.replicate_hooks import SECRET, Hook, Hooks
from tests.simulators.replies import Reply, json_reply, raw_reply
from tests.simulators.server import Exchange

TOKEN = REPLICATE_TOKEN
KINDS = {
    "create": re.compile(r"^POST /v1/(models/(?P<model>[^/]+/[^/]+)/)?predictions$"),
    "look": re.compile(r"^GET /v1/predictions/(?P<id>[^/]+)$"),
    "cancel": re.compile(r"^POST /v1/predictions/(?P<id>[^/]+)/cancel$"),
    "upload": re.compile(r"^POST /v1/files$"),
    "account": re.compile(r"^GET /v1/account$"),
    "model": re.compile(r"^GET /v1/models/(?P<name>[^/]+/[^/]+)(/versions/(?P<version>[0-9a-f]+))?$"),
    "secret": re.compile(r"^GET /v1/webhooks/default/secret$"),
    "download": re.compile(r"^GET /delivery/(?P<id>[^/]+)\.png$"),
}
WORD = re.compile(r"\bsim:(?P<name>[a-z_]+)(?:=(?P<number>[0-9.]+))?")


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    kind: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Made:
    """A prediction. ``end`` is what it becomes after ``seconds``; None: it never ends by itself."""

    id: str
    asked: dict[str, Any]
    address: str
    seconds: float
    word: str
    began: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    fetched: threading.Event = field(default_factory=threading.Event)

    @property
    def prompt(self) -> str:
        return str(self.asked.get("prompt", ""))

    def body(self) -> dict[str, Any]:
        if self.cancelled:
            return bodies.prediction(self.id, "canceled")
        if self.seconds_left() > 0:
            return bodies.prediction(self.id, "processing")
        end = ENDS.get(self.word, ENDS["picture"])(self)
        return bodies.prediction(self.id) | {"metrics": {"predict_time": self.seconds}} | end

    def seconds_left(self) -> float:
        return 0.0 if self.cancelled else self.began + self.seconds - time.monotonic()

    def end(self) -> None:
        """Let it end now."""
        self.seconds = 0.0

    def picture(self) -> bytes:
        return picture(self.prompt, self.asked.get("aspect_ratio", "1:1"))


class ReplicateSimulator:
    """Answers, and keeps what it was asked. ``limit`` is creations per minute; each picture takes ``seconds``."""

    address_setting = "REPLICATE_BASE_URL"
    environment: Mapping[str, str] = {"REPLICATE_API_TOKEN": TOKEN, "REPLICATE_MODEL": bodies.MODEL}

    def __init__(self, *, limit: int | None = None, seconds: float = 0.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self.arrivals = Arrivals()
        self.requests: list[Request] = []
        self.made: dict[str, Made] = {}
        self.hooks = Hooks()
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._numbers = count(1)
        self._lock = threading.Lock()

    def script(self, kind: str, *answers: Reply) -> None:
        """Answer the next requests of this kind with these, in this order."""
        assert kind in KINDS
        with self._lock:
            self._scripts[kind].extend(answers)

    def creations(self) -> Counter[str]:
        """How many predictions were begun, and so charged, for each prompt."""
        with self._lock:
            return Counter(made.prompt for made in self.made.values())

    def asked(self, kind: str) -> list[Request]:
        with self._lock:
            return [request for request in self.requests if request.kind == kind]

    def accepts(self, path: str) -> bool:
        return any(pattern.match(f"{method} {path}") for pattern in KINDS.values() for method in ("GET", "POST"))

    def answer(self, exchange: Exchange) -> None:
        line = f"{exchange.method} {exchange.path}"
        kind, found = next((kind, found) for kind, pattern in KINDS.items() if (found := pattern.match(line)))
        with self._lock:
            self.requests.append(Request(kind, exchange.path, exchange.headers, exchange.body))
            scripted = self._scripts[kind].popleft() if self._scripts[kind] else None
        if kind != "download" and exchange.headers.get("authorization") != f"Bearer {TOKEN}" and scripted is None:
            scripted = json_reply(bodies.problem(401, "Unauthenticated", "You did not pass a valid token"), 401)
        (scripted or getattr(self, f"_{kind}")(exchange, **found.groupdict()))(exchange)

    def _create(self, exchange: Exchange, model: str | None = None) -> Reply:
        asked = exchange.json()["input"]
        word = WORD.search(asked.get("prompt", ""))
        name, number = (word["name"], float(word["number"] or 0)) if word else ("", 0.0)
        wait = self.arrivals.admit(self.limit)
        if wait is not None:
            return json_reply(bodies.throttled(round(wait)), 429)
        if name in REFUSALS:
            return REFUSALS[name](number)
        with self._lock:
            made_id = f"sim{next(self._numbers):023}"
            address = f"http://{exchange.headers['host']}/delivery/{made_id}.png"
            seconds = {"slow": number or 10.0, "never": replies.FOREVER}.get(name, self.seconds)
            made = self.made[made_id] = Made(made_id, asked, address, seconds, name)
        if address := exchange.json().get("webhook"):
            self._tell(made, Hook.of(address, made.prompt), exchange.closing)
        return replies.hang_up if name == "hang_up" else json_reply(bodies.prediction(made.id), 201)

    def _tell(self, made: Made, hook: Hook, closing: threading.Event) -> None:
        """At the end, in a thread of its own; or before anything else happens."""

        def tell_at_the_end() -> None:
            while not self._is_time(made, hook) and not closing.is_set():
                closing.wait(0.02)
            if not closing.is_set():
                self.hooks.send(hook, made.body() | {"input": made.asked}, closing)

        if hook.manner == "early":
            made.end()
            tell_at_the_end()
        else:
            threading.Thread(target=tell_at_the_end, daemon=True).start()

    def _is_time(self, made: Made, hook: Hook) -> bool:
        if hook.manner == "late":
            return made.fetched.is_set()
        return made.seconds_left() <= 0 or hook.manner == "premature"

    def _look(self, exchange: Exchange, id: str) -> Reply:  # noqa: A002 - the address's word
        made = self.made.get(id)
        if made is None:
            return json_reply({"detail": "The requested resource does not exist."}, 404)
        return json_reply(made.body())

    def _cancel(self, exchange: Exchange, id: str) -> Reply:  # noqa: A002
        made = self.made[id]
        made.cancelled = made.body()["status"] == "processing"
        return json_reply(made.body())

    def _secret(self, exchange: Exchange) -> Reply:
        return json_reply({"key": SECRET})

    def _upload(self, exchange: Exchange) -> Reply:
        name = f"file{next(self._numbers)}"
        return json_reply({"id": name, "urls": {"get": f"https://api.replicate.com/v1/files/{name}"}}, 201)

    def _account(self, exchange: Exchange) -> Reply:
        return json_reply(bodies.account())

    def _model(self, exchange: Exchange, name: str, version: str | None = None) -> Reply:
        if name != bodies.MODEL:
            return json_reply({"detail": "The requested resource could not be found.", "status": 404}, 404)
        return json_reply(bodies.model() if version is None else bodies.version(version))

    def _download(self, exchange: Exchange, id: str) -> Reply:  # noqa: A002
        made = self.made.get(id)
        if made is None or made.word == "gone":
            return raw_reply(b"Not found", 404)
        made.fetched.set()
        return raw_reply(made.picture(), 200, {"Content-Type": "image/png"})


def _data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


ENDS: dict[str, Callable[[Made], dict[str, Any]]] = {
    "picture": lambda made: {"status": "succeeded", "output": made.address},
    "list": lambda made: {"status": "succeeded", "output": [made.address, "https://second.example/2.png"]},
    "data": lambda made: {"status": "succeeded", "output": _data_uri(made.picture())},
    "empty": lambda made: {"status": "succeeded", "output": None},
    "removed": lambda made: {"status": "succeeded", "output": None, "data_removed": True},
    "sensitive": lambda made: {"status": "failed", "error": bodies.SENSITIVE},
    "interrupted": lambda made: {"status": "failed", "error": bodies.INTERRUPTED},
    "canceled": lambda made: {"status": "canceled"},
    "aborted": lambda made: {"status": "aborted"},
}
REFUSALS: dict[str, Callable[[float], Reply]] = {
    "limited": lambda number: json_reply(bodies.throttled(round(number or 5)), 429),
    "invalid": lambda number: json_reply(
        bodies.problem(422, "Input validation failed", "- input: wrong", invalid_fields=[{"field": "prompt"}]), 422
    ),
    "refused": lambda number: json_reply(bodies.problem(402, "Insufficient credit", "You have run out."), 402),
    "unavailable": lambda number: json_reply(bodies.problem(503, "Service unavailable", "Try later."), 503),
    "html": lambda number: replies.html_reply(502),
    "hang": lambda number: replies.hang,
}
WORDS = sorted([*ENDS, *REFUSALS, "slow", "never", "gone", "hang_up"])
"""What ``sim:word`` or ``sim:word=number`` in a prompt asks for. The number is seconds."""
