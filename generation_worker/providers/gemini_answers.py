"""What an answer with status 200 amounts to: an image, or the error that says why there is none.

The body is read as plain JSON: a reason that is newer than the SDK is a word like any other, and ``finishMessage`` is
kept. Nothing is believed about its shape.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from generation_worker.domain.errors import (
    ContentBlocked,
    JobError,
    NoImage,
    OutputRejected,
    ProviderRefused,
    ProviderUnavailable,
)
from generation_worker.ports import Generated
from generation_worker.providers.loose_json import Json, object_in, objects_in

BLOCKED = {
    "SAFETY": "the safety filter stopped it",
    "BLOCKLIST": "it holds a word that is not allowed",
    "PROHIBITED_CONTENT": "its content is prohibited",
    "SPII": "it holds sensitive personal data",
    "RECITATION": "it repeats a protected work",
    "MODEL_ARMOR": "the project's content rules stopped it",
    "JAILBREAK": "it tries to get around the content rules",
    "IMAGE_SAFETY": "the safety filter stopped the finished image",
    "IMAGE_PROHIBITED_CONTENT": "the content of the finished image is prohibited",
    "IMAGE_RECITATION": "the finished image repeats a protected work",
}
"""Reasons that the same request meets again, in words."""
ACCOUNT_LIMITED = "PUP_LIMITED_DISABLED"
"""Not this request but the account is barred."""
LONGEST_WORD = 200
"""Reasons and ids are words; what is longer is cut."""


def read_answer(body: str, model: str) -> Generated:
    """The image in ``body``, as made by ``model`` unless the answer names another. Raises ProviderError."""
    answer = _parsed(body)
    candidates = list(objects_in(answer.get("candidates")))
    reasons = [reason for candidate in candidates if (reason := _word(candidate.get("finishReason")))]
    if refusal := _prompt_refusal(answer) or _refusal(reasons):
        raise refusal
    parts = [part for candidate in candidates for part in _parts(candidate)]
    encoded = _first_image(parts)
    if encoded is None:
        raise _no_image(parts, reasons)
    return Generated(
        _decoded(encoded),
        _word(answer.get("modelVersion")) or model,
        _word(answer.get("responseId")),
        _usage(object_in(answer.get("usageMetadata"))),
    )


def _parsed(body: str) -> Json:
    if not body or body.isspace():
        raise NoImage("Gemini's answer was empty.")
    try:
        return object_in(json.loads(body))
    except (ValueError, RecursionError):
        pass
    raise ProviderUnavailable(f"Gemini's answer of {len(body)} characters is not JSON, or not whole.", spent=True)


def _prompt_refusal(answer: Json) -> JobError | None:
    """The prompt itself was blocked: no model ran, so nothing is charged."""
    reason = _word(object_in(answer.get("promptFeedback")).get("blockReason"))
    if reason is None:
        return None
    why = BLOCKED.get(reason, "no reason that we know")
    return ContentBlocked(f"Gemini blocked the prompt: {why} ({reason}).", spent=False)


def _refusal(reasons: list[str]) -> JobError | None:
    for reason in reasons:
        if reason == ACCOUNT_LIMITED:
            return ProviderRefused(f"Google has limited this account ({reason}).")
        if reason in BLOCKED:
            return ContentBlocked(f"Gemini blocked the image: {BLOCKED[reason]} ({reason}).", spent=True)
    return None


def _first_image(parts: list[Json]) -> str | None:
    """The first image that is not a thought: a thinking model may show a draft before the image."""
    for part in parts:
        data = object_in(part.get("inlineData")).get("data")
        if not part.get("thought") and isinstance(data, str) and data:
            return data
    return None


def _no_image(parts: list[Json], reasons: list[str]) -> JobError:
    """The model's words are not told: they belong to whoever asked, not to a log."""
    letters = sum(len(text) for part in parts if isinstance(text := part.get("text"), str) and not part.get("thought"))
    said = f"{letters} characters of text" if letters else "nothing"
    return NoImage(f"Gemini answered with {said} instead of an image ({', '.join(reasons) or 'no reason given'}).")


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, altchars=b"-_" if "-" in encoded or "_" in encoded else None, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise OutputRejected(f"Gemini's image of {len(encoded)} characters is not valid base64.")


def _usage(usage: Json) -> dict[str, int]:
    """The numbers that Google bills by, those that there are."""
    counts = {
        "prompt_tokens": usage.get("promptTokenCount"),
        "candidates_tokens": usage.get("candidatesTokenCount"),
        "thoughts_tokens": usage.get("thoughtsTokenCount"),
        "image_tokens": _image_tokens(usage),
    }
    return {name: count for name, count in counts.items() if type(count) is int and count >= 0}


def _image_tokens(usage: Json) -> int | None:
    counts = [
        count
        for detail in objects_in(usage.get("candidatesTokensDetails"))
        if detail.get("modality") == "IMAGE" and type(count := detail.get("tokenCount")) is int
    ]
    return sum(counts) if counts else None


def _parts(candidate: Json) -> Iterator[Json]:
    return objects_in(object_in(candidate.get("content")).get("parts"))


def _word(value: Any) -> str | None:
    """``value`` as one printable word, fit for a row, if it is text."""
    text = value[:LONGEST_WORD] if isinstance(value, str) else ""
    return "".join(letter for letter in text if letter.isprintable()) or None
