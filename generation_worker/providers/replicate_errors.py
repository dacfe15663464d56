"""What an answer that is not a prediction amounts to."""

from __future__ import annotations

import re
from datetime import datetime
from typing import cast

from generation_worker.domain.errors import (
    JobError,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
)
from generation_worker.providers.gemini_limits import wait_of
from generation_worker.providers.http_answers import Answer
from generation_worker.providers.loose_json import Json, object_in, objects_in

LONGEST_TEXT = 300
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
    resets = RESETS.search(_text(body.get("detail")))
    told = body.get("retry_after")
    for delay in (None, str(told) if isinstance(told, int | float | str) else None, resets[1] if resets else None):
        wait = wait_of(delay, answer.headers.get("retry-after") if delay is None else None, now)
        if wait is not None:
            return wait
    return None


def _said(code: int, body: Json) -> str:
    """Status and Replicate's words; nothing of a gateway's HTML."""
    words = [_text(body.get(name)) for name in ("title", "detail")]
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
    return next((name for key in ("field", "name", "loc") if (name := _text(item.get(key)))), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
