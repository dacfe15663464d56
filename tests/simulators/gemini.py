"""A simulated Gemini API: ``POST /{version}/models/{model}:generateContent``, and ``GET`` of a model.

A request to generate gets the first of these that there is:

1. the next reply of the script that a test has set;
2. 429 in Google's form, if a limit per minute is set and reached;
3. what a word of the prompt asks for, see WORDS: for playing by hand, and for tests with a worker in another process;
4. a picture made of the prompt.

A look at a model gets the next reply of the script, or what is known of the key and the model.
"""

from __future__ import annotations

import base64
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.canaries.values import GEMINI_KEY
from tests.simulators import gemini_bodies as bodies, replies
from tests.simulators.arrivals import Arrivals
from tests.simulators.pictures import picture
from tests.simulators.replies import Reply, json_reply
from tests.simulators.server import Exchange

KEY = GEMINI_KEY
PATH = re.compile(r"^(?P<prefix>.*)/(?P<version>v1\w*)/models/(?P<model>[^/:]+):generateContent$")
LOOK = re.compile(r"^.*/v1\w*/models/(?P<model>[^/:]+)$")
WORD = re.compile(r"\bsim:(?P<name>[a-z_]+)(?:=(?P<number>[0-9.]+))?")


@dataclass(frozen=True)
class Request:
    """A request as it came, with the parts that tests look at."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    client: tuple[str, int]
    """The other end of the connection."""

    @property
    def model(self) -> str:
        return (PATH.match(self.path) or {"model": ""})["model"]

    @property
    def parts(self) -> list[dict[str, Any]]:
        return [part for content in self.body.get("contents", []) for part in content.get("parts", [])]

    @property
    def prompt(self) -> str:
        return " ".join(part["text"] for part in self.parts if "text" in part)

    @property
    def pictures(self) -> list[bytes]:
        """The input images. Like Google, this takes both alphabets of base64: the SDK uses the one for URLs."""
        encoded = [part["inlineData"]["data"] for part in self.parts if "inlineData" in part]
        return [base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True) for data in encoded]

    @property
    def config(self) -> dict[str, Any]:
        return self.body.get("generationConfig", {})

    def picture(self) -> bytes:
        return picture(self.prompt, self.config.get("imageConfig", {}).get("aspectRatio", "1:1"))


class GeminiSimulator:
    """Answers, and keeps what it was asked. ``limit`` is requests per minute and key; each takes ``seconds``."""

    address_setting = "GEMINI_BASE_URL"
    environment: Mapping[str, str] = {"GEMINI_API_KEY": KEY, "GEMINI_MODEL": bodies.MODEL}

    def __init__(self, *, limit: int | None = None, seconds: float = 0.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self.arrivals: dict[str, Arrivals] = {}
        """By key: limits are counted for each."""
        self.requests: list[Request] = []
        self.looks: list[Request] = []
        self.accepted: frozenset[str] | None = None
        """The keys that are right, for whoever looks at a model; None: any."""
        self.models = {bodies.MODEL: ["generateContent", "countTokens"]}
        """What each model that there is can do."""
        self._script: deque[Reply] = deque()
        self._lock = threading.Lock()

    def script(self, *answers: Reply) -> None:
        """Answer the next requests with these, in this order."""
        with self._lock:
            self._script.extend(answers)

    def accepts(self, path: str) -> bool:
        return PATH.match(path) is not None or LOOK.match(path) is not None

    def answer(self, exchange: Exchange) -> None:
        if found := LOOK.match(exchange.path):
            return self._look(exchange, found["model"])
        request = Request(exchange.path, exchange.headers, exchange.json(), exchange.client)
        with self._lock:
            self.requests.append(request)
            arrivals = self.arrivals.setdefault(request.headers.get("x-goog-api-key", ""), Arrivals())
            scripted = self._script.popleft() if self._script else None
        wait = arrivals.admit(self.limit)
        if scripted is None and wait is not None:
            scripted = json_reply(bodies.rate_limited(f"{wait:.3f}s"), 429)
        return (scripted or self._unscripted(request))(exchange)

    def _look(self, exchange: Exchange, model: str) -> None:
        key = exchange.headers.get("x-goog-api-key", "")
        with self._lock:
            self.looks.append(Request(exchange.path, exchange.headers, {}, exchange.client))
            scripted = self._script.popleft() if self._script else None
        if scripted is not None:
            return scripted(exchange)
        if self.accepted is not None and key not in self.accepted:
            return json_reply(bodies.wrong_key(), 400)(exchange)
        if model not in self.models:
            return json_reply(bodies.no_model(model), 404)(exchange)
        return json_reply(bodies.model(model, self.models[model]))(exchange)

    def _unscripted(self, request: Request) -> Reply:
        word = WORD.search(request.prompt)
        good = json_reply(bodies.image_answer(request.picture()))
        if word is None or word["name"] not in WORDS:
            return replies.later(self.seconds, good) if self.seconds else good
        return WORDS[word["name"]](float(word["number"] or 0), good)


WORDS: dict[str, Callable[[float, Reply], Reply]] = {
    "slow": lambda number, good: replies.later(number or 10, good),
    "drip": lambda number, good: replies.drip(replies.body_of(bodies.image_answer(picture("drip"))), number or 0.5),
    "hang": lambda number, good: replies.hang,
    "blocked": lambda number, good: json_reply(bodies.answer(bodies.candidate(None, "IMAGE_SAFETY"))),
    "blocked_prompt": lambda number, good: json_reply(bodies.blocked_prompt()),
    "no_image": lambda number, good: json_reply(bodies.answer(bodies.candidate([bodies.text_part("I cannot.")]))),
    "limited": lambda number, good: json_reply(bodies.rate_limited(f"{number or 5:g}s"), 429),
    "limited_today": lambda number, good: json_reply(bodies.rate_limited("47s", bodies.PER_DAY), 429),
    "invalid": lambda number, good: json_reply(bodies.error(400, "INVALID_ARGUMENT", "Unsupported image size."), 400),
    "refused": lambda number, good: json_reply(bodies.error(403, "PERMISSION_DENIED", "The key is blocked."), 403),
    "unavailable": lambda number, good: json_reply(bodies.error(503, "UNAVAILABLE", "Overloaded."), 503),
    "html": lambda number, good: replies.html_reply(502),
    "hang_up": lambda number, good: replies.hang_up,
}
"""What ``sim:word`` or ``sim:word=number`` in a prompt asks for. The number is seconds."""
