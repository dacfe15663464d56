"""Replicate's HTTP API: one method for each endpoint, and what its responses mean. Their shape is never trusted."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, cast
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from generation_worker.domain import errors
from generation_worker.ports import Control, Picture
from generation_worker.providers.http import HttpCalls, HttpResponse, Json, object_in, objects_in, retry_wait

LARGEST_RESPONSE = 8_000_000
"""Bytes of JSON. Replicate returns only small pictures as a data: URI."""
LARGEST_FILE = 64_000_000
"""Bytes."""
DOWNLOAD_TIMEOUT = 60.0
"""Seconds for one try to download a whole picture."""
MOST_REDIRECTS = 3
ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""The final states. All others, also unknown ones, mean that the prediction is running."""
UNSEEN = "unseen"
"""The status of an earlier attempt's prediction before its first poll."""
ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
BLOCKED = re.compile(r"\bE005\b|flagged as sensitive|\bNSFW\b|safety filter|content polic|moderation", re.IGNORECASE)
RESETS = re.compile(r"resets in ~?\s*(\d{1,9}(?:\.\d+)?)\s*s")
"""“Request was throttled. Your rate limit resets in ~30s.”"""
OPERATOR_MUST_ACT = frozenset({401, 402, 403, 407})
LONGEST_TEXT = 300
"""Characters kept of Replicate's own messages."""


class ReplicateHttp:
    """Replicate's endpoints over one connection pool for all threads. ``timeout`` bounds a whole request, in seconds.

    Requests raise NoResponse, and what ``Control.check`` raises.
    """

    def __init__(self, *, token: str, base_url: str, timeout: float, threads: int) -> None:
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._token = token
        self._calls = HttpCalls("Replicate", self._base, connections=threads, secret=token)

    def warm_up(self) -> None:
        self._calls.warm_up()

    def create(self, path: str, body: Mapping[str, Any], cancel_after: int, control: Control) -> HttpResponse:
        """Create a prediction without ``Prefer: wait``, so that its id is known before the work is done."""
        headers = {"Cancel-After": f"{cancel_after}s"}
        return self._request("POST", path, control, json=body, headers=headers, paid=True)

    def prediction(self, prediction_id: str, control: Control) -> HttpResponse:
        return self._request("GET", f"/v1/predictions/{prediction_id}", control)

    def get(self, path: str, control: Control) -> HttpResponse:
        """Read a resource that costs nothing."""
        return self._request("GET", path, control)

    def cancel(self, prediction_id: str, control: Control) -> HttpResponse:
        return self._request("POST", f"/v1/predictions/{prediction_id}/cancel", control)

    def upload(self, name: str, picture: Picture, control: Control) -> HttpResponse:
        files = {"content": (name, picture.data, picture.content_type)}
        return self._request("POST", "/v1/files", control, files=files)

    def download(self, url: str, control: Control) -> HttpResponse:
        """Download from the picture's host, without the token, which only Replicate may see.

        Raises OutputRejected too.
        """
        limit = max(self._timeout, DOWNLOAD_TIMEOUT)
        for _ in range(MOST_REDIRECTS + 1):
            self._check_address(url)
            response = self._calls.request("GET", url, control, limit=limit, most_bytes=LARGEST_FILE)
            if not (300 <= response.status < 400 and "location" in response.headers):
                return response
            url = urljoin(url, response.headers["location"])
        raise errors.OutputRejected(f"The address of Replicate's picture redirects more than {MOST_REDIRECTS} times.")

    def close(self) -> None:
        self._calls.close()

    def _check_address(self, url: str) -> None:
        """Allow https, and http only if the API's own address has it, as in tests."""
        schemes = {"https", urlsplit(self._base).scheme}
        try:
            address = urlsplit(url)
            if address.scheme in schemes and address.hostname:
                return
        except ValueError:
            pass
        raise errors.OutputRejected("The address of Replicate's picture is not an https URL.")

    def _request(
        self,
        method: str,
        path: str,
        control: Control,
        *,
        headers: Mapping[str, str] | None = None,
        paid: bool = False,
        **content: Any,
    ) -> HttpResponse:
        headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        limits: dict[str, Any] = {"limit": self._timeout, "most_bytes": LARGEST_RESPONSE}
        return self._calls.request(method, self._base + path, control, headers=headers, paid=paid, **limits, **content)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The state of a prediction."""

    id: str
    status: str
    error: str = ""
    model: str = ""
    pictures: tuple[str, ...] = ()
    data_removed: bool = False
    usage: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def read(cls, body: object) -> Self | None:
        """Read a response body; None if it is not a prediction."""
        content = object_in(body)
        prediction_id, status = content.get("id"), content.get("status")
        if not (isinstance(prediction_id, str) and ID.fullmatch(prediction_id) and isinstance(status, str)):
            return None
        return cls(
            id=prediction_id,
            status=status,
            error=_bounded(content.get("error")),
            model=_bounded(content.get("model")),
            pictures=tuple(_addresses(content.get("output"))),
            data_removed=content.get("data_removed") is True,
            usage={name: value for name, value in object_in(content.get("metrics")).items() if _is_number(value)},
        )

    @property
    def running(self) -> bool:
        return self.status not in ENDED

    def picture(self, *, resumed: bool) -> str:
        """The address of the first picture. Raises ProviderError if there is none.

        ``resumed``: an earlier attempt created the prediction, so a new one may still make the picture.
        """
        match self.status:
            case "succeeded" if self.pictures:
                return self.pictures[0]
            case "succeeded" if self.data_removed:
                raise errors.CallLost("Replicate has deleted the picture: it keeps pictures for an hour.")
            case "succeeded":
                raise errors.NoImage("The prediction succeeded without a picture.")
            case "failed":
                raise _failure(self.error)
            case _:
                # Replicate charges for a prediction that was cancelled while it was running.
                kind = errors.CallLost if resumed else errors.ProviderUnavailable
                raise kind(f"The prediction was {self.status} at Replicate.", spent=self.status == "canceled")


def decode_data_uri(uri: str) -> bytes:
    """The bytes of a ``data:`` URI. Raises OutputRejected."""
    head, comma, body = uri.partition(",")
    try:
        if comma:
            data = unquote_to_bytes(body)
            return base64.b64decode(data, validate=True) if head.lower().endswith(";base64") else data
    except (ValueError, binascii.Error):
        pass
    raise errors.OutputRejected("Replicate's picture is an invalid data: URI.")


def response_error(response: HttpResponse, model: str, now: datetime) -> errors.JobError:
    """The error for a response that is not a prediction. ``now`` is for waits that are given as a date."""
    code, body = response.status, object_in(response.json())
    summary = _summary(code, body)
    if code == 429:
        return errors.ProviderLimited(
            f"Replicate's rate limit is reached ({summary}).", wait=requested_wait(response, now)
        )
    if code in OPERATOR_MUST_ACT or 300 <= code < 400:
        return errors.ProviderRefused(f"Replicate refuses this token ({summary}).")
    if code == 404:
        return errors.ProviderRejected(f"Replicate has no model {model!r} for this token ({summary}).")
    if code == 422:
        return errors.ProviderRejected(f"The model rejected the request ({summary}).{_invalid_fields(body)}")
    if 400 <= code < 500 and code not in (408, 425):
        return errors.ProviderRejected(f"Replicate rejected the request ({summary}).")
    # Spent: a gateway can give up on a request that Replicate served nevertheless.
    return errors.ProviderUnavailable(f"Replicate is temporarily unavailable ({summary}).", spent=True)


def requested_wait(response: HttpResponse, now: datetime) -> float | None:
    """The wait that a 429 names in its header or its body, in seconds; None if it names none."""
    body = object_in(response.json())
    resets = RESETS.search(_text(body.get("detail")))
    in_body = body.get("retry_after")
    delays = (None, str(in_body) if isinstance(in_body, int | float | str) else None, resets[1] if resets else None)
    for delay in delays:
        wait = retry_wait(delay, response.headers.get("retry-after") if delay is None else None, now)
        if wait is not None:
            return wait
    return None


def _failure(reason: str) -> errors.JobError:
    if BLOCKED.search(reason):
        return errors.ContentBlocked(f"The model blocked the content: {reason}", spent=True)
    return errors.ProviderUnavailable(f"The prediction failed: {reason or 'Replicate gives no reason'}", spent=True)


def _addresses(output: object) -> Iterator[str]:
    """``output`` is one address, or a list of them."""
    for item in cast("list[object]", output) if isinstance(output, list) else [output]:
        if isinstance(item, str) and item:
            yield item


def _summary(code: int, body: Json) -> str:
    """The status and Replicate's message; nothing of a gateway's HTML."""
    words = [_text(body.get(name)) for name in ("title", "detail")]
    text = ": ".join(word for word in words if word)[:LONGEST_TEXT]
    return f"{code}: {text}" if text else str(code)


def _invalid_fields(body: Json) -> str:
    """The inputs that a model rejects: a list of names or of objects that name them, or an object with them as keys."""
    fields = body.get("invalid_fields")
    names = [_field_name(item) for item in objects_in(fields)] or list(object_in(fields))
    if isinstance(fields, list):
        names += [item for item in cast("list[object]", fields) if isinstance(item, str)]
    found = ", ".join(name for name in names if name)[:LONGEST_TEXT]
    return f" Invalid: {found}." if found else ""


def _field_name(item: Json) -> str:
    return next((name for key in ("field", "name", "loc") if (name := _text(item.get(key)))), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bounded(value: object) -> str:
    return _text(value)[:LONGEST_TEXT]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
