"""What an answer with status 200 amounts to: an image, or the error that says why there is none.

The body is read as plain JSON: a reason that is newer than the SDK is a word like any other, and ``finishMessage`` is
kept. Nothing is believed about its shape.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from generation_worker.domain.errors import (
    ContentBlocked,
    JobError,
    NoImage,
    OutputRejected,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.ports import Generated
from generation_worker.providers.http import Json, next_day, object_in, objects_in, wait_of

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


# What Google's answer about a key and a model means for ``doctor``.


NEEDED = "generateContent"
"""How we ask for an image; a model that cannot be asked so is of another kind."""
KEY = (
    "Make a key at https://aistudio.google.com/apikey and put it into GEMINI_API_KEY. For a key that is right: is the "
    "Generative Language API on in its project, is billing set up, do its restrictions let this machine through?"
)
MODEL = (
    "Set GEMINI_MODEL to one that Google still serves, see https://ai.google.dev/gemini-api/docs/models, or remove it "
    "for the default; also look whether GEMINI_API_VERSION has it, and whether GEMINI_BASE_URL leads to Google's API"
)
ADDRESS = "Remove GEMINI_BASE_URL, or set it to an address that speaks Gemini's API"
NETWORK = "Can this machine reach GEMINI_BASE_URL, and the proxy in HTTPS_PROXY if there is one?"
LATER = "Wait, or raise the limit in AI Studio; jobs wait by themselves"


class Known(NamedTuple):
    """What Google says of a model; a name that is empty means that it was not Google who answered."""

    name: str
    display_name: str
    methods: tuple[str, ...]


def judge(found: Known, key_label: str, model: str) -> Verdict:
    if not found.name:
        return fault(f"{key_label}: what answered for {model} is not Gemini's API", ADDRESS)
    if found.methods and NEEDED not in found.methods:
        return fault(f"{key_label}: {model} does not make images on request ({', '.join(found.methods)[:200]})", MODEL)
    also = f" ({found.display_name[:100]})" if found.display_name else ""
    return ok(f"{key_label}: the key is accepted, {model}{also} is there")


def refused(error: JobError, key_label: str) -> Verdict:
    said = f"{key_label}: {error.message}"
    match error:
        case ProviderLimited():
            return warning(said, LATER)
        case ProviderRefused():
            return fault(said, KEY)
        case ProviderRejected():
            return fault(said, MODEL)
        case _:
            return fault(said, NETWORK)


# What an answer with a status other than 200 amounts to.


LONGEST_TEXT = 300
"""Characters of Google's own words that are passed on."""

OPERATOR_MUST_ACT = frozenset({401, 402, 403, 407})
"""Wrong key, no money, no permission, a proxy that wants a password."""
OVERLOADED = frozenset({408, 409, 425, 499})
"""4xx by number, but nothing is wrong with the request."""


class ErrorAnswer(Exception):
    """An answer with another status than 200, as it came."""

    def __init__(self, code: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(code)
        self.code = code
        self.body = body
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer, taken apart. ``status`` is Google's word for it, ``said`` its text without our key."""

    code: int
    status: str = ""
    said: str = ""
    reasons: frozenset[str] = frozenset()
    quotas: tuple[str, ...] = ()
    retry_delay: str | None = None
    retry_after: str | None = None

    @classmethod
    def read(cls, code: int, body: object, headers: Mapping[str, str], *, key: str) -> Self:
        """Of an answer of any shape: a gateway's HTML has none of these."""
        error = object_in(object_in(_unwrapped(body)).get("error"))
        details = list(objects_in(error.get("details")))
        return cls(
            code=code,
            status=_text(error.get("status"), key),
            said=_text(error.get("message"), key),
            reasons=frozenset(_text(detail.get("reason"), key) for detail in details) - {""},
            quotas=tuple(quota for detail in details for quota in _quotas(detail, key)),
            retry_delay=next((delay for detail in details if isinstance(delay := detail.get("retryDelay"), str)), None),
            retry_after=headers.get("retry-after"),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.status}".strip() + (f": {self.said}" if self.said else "")


def error_of(refusal: Refusal, model: str, now: datetime) -> JobError:
    """``now`` is needed for waits that are told as a time of day."""
    code = refusal.code
    if code == 429:
        return _limited(refusal, now)
    if code == 404:
        return ProviderRejected(f"Gemini has no model {model!r} for us ({refusal}).")
    if code == 504:
        return ProviderTimedOut(f"Gemini gave up on the request ({refusal}).")
    if code < 300:
        return ProviderUnavailable(f"Gemini's answer is not one that we know ({refusal}).", spent=True)
    if code >= 500 or code in OVERLOADED:
        return ProviderUnavailable(f"Gemini is not available just now ({refusal}).")
    if _operator_must_act(refusal):
        return ProviderRefused(f"Google refuses us ({refusal}).")
    return ProviderRejected(f"Gemini refused the request ({refusal}).")


def _operator_must_act(refusal: Refusal) -> bool:
    """Also at a 400 for a wrong key, billing that is off or a region that is not served, and at a redirect."""
    return (
        refusal.code in OPERATOR_MUST_ACT
        or refusal.code < 400
        or refusal.status == "FAILED_PRECONDITION"
        or any(reason.startswith("API_KEY_") for reason in refusal.reasons)
    )


def _limited(refusal: Refusal, now: datetime) -> ProviderLimited:
    """A daily quota can come with a delay of seconds, so the quota is looked at first."""
    which = ", ".join(refusal.quotas) or "which one is not told"
    if any("PerDay" in quota for quota in refusal.quotas):
        return ProviderLimited(f"Google's daily limit is reached ({which}).", wait=next_day(now), scope="day")
    wait = wait_of(refusal.retry_delay, refusal.retry_after, now)
    return ProviderLimited(f"Google's rate limit is reached ({which}).", wait=wait)


def _quotas(detail: Json, key: str) -> Iterator[str]:
    for violation in objects_in(detail.get("violations")):
        if quota := _text(violation.get("quotaId"), key):
            yield quota


def _text(value: object, key: str) -> str:
    """``value`` if it is text, bounded. Google names the key in some of its refusals; it is taken out first."""
    return value.replace(key, "[key]")[:LONGEST_TEXT] if isinstance(value, str) else ""


def _unwrapped(body: object) -> object:
    """Streams answer with a list of one."""
    return next(objects_in(body), body)
