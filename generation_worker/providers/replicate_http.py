"""Replicate's endpoints, one HTTP request each. What an answer means is decided elsewhere."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, cast
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from generation_worker.domain.errors import (
    CallLost,
    ContentBlocked,
    JobError,
    NoImage,
    OutputRejected,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
)
from generation_worker.ports import Control, Picture
from generation_worker.providers.http import Answer, HttpCalls, Json, object_in, objects_in, wait_of

LARGEST_ANSWER = 8_000_000
"""Bytes of JSON. A picture as a data: URI is Replicate's choice for small ones only."""
LARGEST_FILE = 64_000_000
DOWNLOAD_WITHIN = 60.0
"""Seconds for one try to download a picture, all of it."""
MOST_REDIRECTS = 3


class ReplicateHttp:
    """One connection pool for all threads. A request takes at most ``timeout`` seconds, however slowly bytes come.

    Requests raise NoAnswer, and what ``Control.check`` raises.
    """

    def __init__(self, *, token: str, base_url: str, timeout: float, threads: int) -> None:
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._token = token
        self._calls = HttpCalls("Replicate", self._base, connections=threads, secret=token)

    def warm_up(self) -> None:
        self._calls.warm_up()

    def create(self, path: str, body: Mapping[str, Any], cancel_after: int, control: Control) -> Answer:
        """Without ``Prefer: wait``: the answer comes at once, so that the id is known before the work is done."""
        headers = {"Cancel-After": f"{cancel_after}s"}
        return self._ask("POST", path, control, json=body, headers=headers, paid=True)

    def prediction(self, prediction_id: str, control: Control) -> Answer:
        return self._ask("GET", f"/v1/predictions/{prediction_id}", control)

    def look(self, path: str, control: Control) -> Answer:
        """Read what costs nothing."""
        return self._ask("GET", path, control)

    def cancel(self, prediction_id: str, control: Control) -> Answer:
        return self._ask("POST", f"/v1/predictions/{prediction_id}/cancel", control)

    def upload(self, name: str, picture: Picture, control: Control) -> Answer:
        return self._ask("POST", "/v1/files", control, files={"content": (name, picture.data, picture.content_type)})

    def download(self, url: str, control: Control) -> Answer:
        """From wherever the picture lies: without the token, which is nobody's business but Replicate's.

        Raises OutputRejected too.
        """
        limit = max(self._timeout, DOWNLOAD_WITHIN)
        for _ in range(MOST_REDIRECTS + 1):
            self._check_address(url)
            answer = self._calls.request("GET", url, control, limit=limit, most_bytes=LARGEST_FILE)
            if not (300 <= answer.status < 400 and "location" in answer.headers):
                return answer
            url = urljoin(url, answer.headers["location"])
        raise OutputRejected("Replicate's picture is not where it is said to be, but always elsewhere.")

    def close(self) -> None:
        self._calls.close()

    def _check_address(self, url: str) -> None:
        """Only the web; and unencrypted only for whoever speaks to the API so too, which is a test."""
        schemes = {"https", urlsplit(self._base).scheme}
        try:
            address = urlsplit(url)
            if address.scheme in schemes and address.hostname:
                return
        except ValueError:
            pass
        raise OutputRejected("Replicate's picture is not at an address on the web.")

    def _ask(
        self,
        method: str,
        path: str,
        control: Control,
        *,
        headers: Mapping[str, str] | None = None,
        paid: bool = False,
        **content: Any,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        limits: dict[str, Any] = {"limit": self._timeout, "most_bytes": LARGEST_ANSWER}
        return self._calls.request(method, self._base + path, control, headers=headers, paid=paid, **limits, **content)


# A prediction, and what its end amounts to. Nothing is believed about the shape of an answer.


ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""The others are starting and processing; a word that is new is not an end either."""
UNSEEN = "unseen"
"""The status of an earlier attempt's prediction, until we look."""
ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
BLOCKED = re.compile(r"\bE005\b|flagged as sensitive|\bNSFW\b|safety filter|content polic|moderation", re.IGNORECASE)
LONGEST_TEXT = 300
"""Characters of Replicate's own words that are passed on."""


@dataclass(frozen=True, slots=True)
class Prediction:
    id: str
    status: str
    error: str = ""
    model: str = ""
    pictures: tuple[str, ...] = ()
    data_removed: bool = False
    usage: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def read(cls, body: object) -> Self | None:
        """None if the answer is no prediction."""
        told = object_in(body)
        prediction_id, status = told.get("id"), told.get("status")
        if not (isinstance(prediction_id, str) and ID.fullmatch(prediction_id) and isinstance(status, str)):
            return None
        return cls(
            id=prediction_id,
            status=status,
            error=_text(told.get("error")),
            model=_text(told.get("model")),
            pictures=tuple(_texts(told.get("output"))),
            data_removed=told.get("data_removed") is True,
            usage={name: value for name, value in object_in(told.get("metrics")).items() if _is_number(value)},
        )

    @property
    def running(self) -> bool:
        return self.status not in ENDED

    def picture(self, *, resumed: bool) -> str:
        """The address of the picture, the first if there are several. Raises ProviderError.

        ``resumed``: it is an earlier attempt's prediction, so if there is nothing to be had, a new one may have it.
        """
        match self.status:
            case "succeeded" if self.pictures:
                return self.pictures[0]
            case "succeeded" if self.data_removed:
                raise CallLost("Replicate has removed the picture: it keeps one for an hour.")
            case "succeeded":
                raise NoImage("The prediction succeeded without a picture.")
            case "failed":
                raise _failure(self.error)
            case _:
                # Replicate charges for what it had begun to work on.
                kind = CallLost if resumed else ProviderUnavailable
                raise kind(f"The prediction was {self.status} at Replicate.", spent=self.status == "canceled")


def _failure(said: str) -> JobError:
    if BLOCKED.search(said):
        return ContentBlocked(f"The model refused: {said}", spent=True)
    return ProviderUnavailable(f"The prediction failed: {said or 'Replicate does not say why'}", spent=True)


def decoded(uri: str) -> bytes:
    """The bytes of a ``data:`` URI. Raises OutputRejected."""
    head, comma, body = uri.partition(",")
    try:
        if comma:
            data = unquote_to_bytes(body)
            return base64.b64decode(data, validate=True) if head.lower().endswith(";base64") else data
    except (ValueError, binascii.Error):
        pass
    raise OutputRejected("Replicate's picture is a data: URI that cannot be read.")


def _texts(output: object) -> Iterator[str]:
    """``output`` is one address, or a list of them."""
    for item in cast("list[object]", output) if isinstance(output, list) else [output]:
        if isinstance(item, str) and item:
            yield item


def _text(value: object) -> str:
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# What an answer that is not a prediction amounts to.


RESETS = re.compile(r"resets in ~?\s*(\d{1,9}(?:\.\d+)?)\s*s")
"""“Request was throttled. Your rate limit resets in ~30s.”"""
OPERATOR_MUST_ACT = frozenset({401, 402, 403, 407})


def error_of(answer: Answer, model: str, now: datetime) -> JobError:
    """``now`` is needed for waits that are told as a time of day."""
    code, body = answer.status, object_in(answer.json())
    said = _said(code, body)
    if code == 429:
        return ProviderLimited(f"Replicate's rate limit is reached ({said}).", wait=wait_asked(answer, now))
    if code in OPERATOR_MUST_ACT or 300 <= code < 400:
        return ProviderRefused(f"Replicate refuses us ({said}).")
    if code == 404:
        return ProviderRejected(f"Replicate has no model {model!r} for us ({said}).")
    if code == 422:
        return ProviderRejected(f"The model does not take this request ({said}).{_invalid_fields(body)}")
    if 400 <= code < 500 and code not in (408, 425):
        return ProviderRejected(f"Replicate refused the request ({said}).")
    # It may have begun to work: a gateway gives up on a request that was served all the same.
    return ProviderUnavailable(f"Replicate is not available just now ({said}).", spent=True)


def wait_asked(answer: Answer, now: datetime) -> float | None:
    """Seconds that a 429 asks for, in its header or its body; None if it does not say."""
    body = object_in(answer.json())
    resets = RESETS.search(_error_text(body.get("detail")))
    told = body.get("retry_after")
    for delay in (None, str(told) if isinstance(told, int | float | str) else None, resets[1] if resets else None):
        wait = wait_of(delay, answer.headers.get("retry-after") if delay is None else None, now)
        if wait is not None:
            return wait
    return None


def _said(code: int, body: Json) -> str:
    """Status and Replicate's words; nothing of a gateway's HTML."""
    words = [_error_text(body.get(name)) for name in ("title", "detail")]
    text = ": ".join(word for word in words if word)[:LONGEST_TEXT]
    return f"{code}: {text}" if text else str(code)


def _invalid_fields(body: Json) -> str:
    """The inputs that a model refuses: a list of objects, or an object, that name them."""
    told = body.get("invalid_fields")
    names = [_field(item) for item in objects_in(told)] or list(object_in(told))
    if isinstance(told, list):
        names += [item for item in cast("list[object]", told) if isinstance(item, str)]
    found = ", ".join(name for name in names if name)[:LONGEST_TEXT]
    return f" Wrong: {found}." if found else ""


def _field(item: Json) -> str:
    return next((name for key in ("field", "name", "loc") if (name := _error_text(item.get(key)))), "")


def _error_text(value: object) -> str:
    return value if isinstance(value, str) else ""
