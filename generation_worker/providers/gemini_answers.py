"""Reads Gemini's responses: an image, the job error that says why there is none, or the verdict of a check.

Bodies are read as plain JSON and their shape is never trusted. A finish reason that is newer than the SDK is a word
like any other, and ``finishMessage`` is kept.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from generation_worker.domain import errors
from generation_worker.domain.finding import Verdict, fault, ok, warning
from generation_worker.ports import Generated
from generation_worker.providers.http import Json, daily_quota_wait, object_in, objects_in, retry_wait

BLOCKED = {
    "SAFETY": "the safety filter stopped it",
    "BLOCKLIST": "it contains a word that is not allowed",
    "PROHIBITED_CONTENT": "its content is prohibited",
    "SPII": "it contains sensitive personal data",
    "RECITATION": "it repeats a protected work",
    "MODEL_ARMOR": "the project's content rules stopped it",
    "JAILBREAK": "it tries to get around the content rules",
    "IMAGE_SAFETY": "the safety filter stopped the finished image",
    "IMAGE_PROHIBITED_CONTENT": "the content of the finished image is prohibited",
    "IMAGE_RECITATION": "the finished image repeats a protected work",
}
"""Reasons that would block the same request again, with their explanation."""
ACCOUNT_LIMITED = "PUP_LIMITED_DISABLED"
"""The account is blocked, not this request."""
OPERATOR_MUST_ACT = frozenset({401, 402, 403, 407})
"""Wrong key, no money, no permission, a proxy that requires a password."""
OVERLOADED = frozenset({408, 409, 425, 499})
"""4xx statuses that do not mean an invalid request."""
LONGEST_WORD = 200
"""Characters kept of reasons and ids."""
LONGEST_TEXT = 300
"""Characters kept of Google's own messages."""


class ErrorResponse(Exception):
    """A response with a status other than 200, unread."""

    def __init__(self, code: int, body: object, headers: Mapping[str, str]) -> None:
        super().__init__(code)
        self.code = code
        self.body = body
        self.headers = headers


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """The fields of an error response. ``status`` is Google's name for it, ``message`` its text without our key."""

    code: int
    status: str = ""
    message: str = ""
    reasons: frozenset[str] = frozenset()
    quotas: tuple[str, ...] = ()
    retry_delay: str | None = None
    retry_after: str | None = None

    @classmethod
    def read(cls, code: int, body: object, headers: Mapping[str, str], *, key: str) -> Self:
        """Read a body of any shape: a gateway's HTML has none of the fields."""
        error = object_in(object_in(_unwrapped(body)).get("error"))
        details = list(objects_in(error.get("details")))
        return cls(
            code=code,
            status=_text(error.get("status"), key),
            message=_text(error.get("message"), key),
            reasons=frozenset(_text(detail.get("reason"), key) for detail in details) - {""},
            quotas=tuple(quota for detail in details for quota in _quotas(detail, key)),
            retry_delay=next((delay for detail in details if isinstance(delay := detail.get("retryDelay"), str)), None),
            retry_after=headers.get("retry-after"),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.status}".strip() + (f": {self.message}" if self.message else "")


class ModelInfo(NamedTuple):
    """A model as Google describes it. An empty ``name`` means that the response was not Google's."""

    name: str
    display_name: str
    methods: tuple[str, ...]


def read_response(body: str, model: str) -> Generated:
    """The image in the body of a response with status 200, made by ``model`` unless the body names another.

    Raises ProviderError.
    """
    response = _parsed(body)
    candidates = list(objects_in(response.get("candidates")))
    reasons = [reason for candidate in candidates if (reason := _word(candidate.get("finishReason")))]
    if refusal := _prompt_refusal(response) or _image_refusal(reasons):
        raise refusal
    parts = [part for candidate in candidates for part in _parts(candidate)]
    encoded = _first_image(parts)
    if encoded is None:
        raise _no_image(parts, reasons)
    return Generated(
        _decoded(encoded),
        _word(response.get("modelVersion")) or model,
        _word(response.get("responseId")),
        _usage(object_in(response.get("usageMetadata"))),
    )


def job_error(details: ErrorDetails, model: str, now: datetime) -> errors.JobError:
    """The error for a response with a status other than 200. ``now`` is for waits that are given as a date."""
    code = details.code
    if code == 429:
        return _limited(details, now)
    if code == 404:
        return errors.ProviderRejected(f"Gemini has no model {model!r} for this key ({details}).")
    if code == 504:
        return errors.ProviderTimedOut(f"Gemini did not finish the request in time ({details}).")
    if code < 300:
        return errors.ProviderUnavailable(f"Gemini's response has an unknown status ({details}).", spent=True)
    if code >= 500 or code in OVERLOADED:
        return errors.ProviderUnavailable(f"Gemini is temporarily unavailable ({details}).")
    if _operator_must_act(details):
        return errors.ProviderRefused(f"Google refuses this key or project ({details}).")
    return errors.ProviderRejected(f"Gemini rejected the request ({details}).")


METHOD = "generateContent"
"""The method that makes an image; a model without it is of another kind."""
KEY_REMEDY = (
    "Create a key at https://aistudio.google.com/apikey and set GEMINI_API_KEY. If the key is right, check that its "
    "project has the Generative Language API enabled and billing set up, and that its restrictions allow this machine"
)
MODEL_REMEDY = (
    "Set GEMINI_MODEL to a model that Google still serves, see https://ai.google.dev/gemini-api/docs/models, or remove "
    "it for the default; also check that GEMINI_API_VERSION has the model and that GEMINI_BASE_URL is Google's API"
)
ADDRESS_REMEDY = "Remove GEMINI_BASE_URL, or set it to the address of a server with Gemini's API"
NETWORK_REMEDY = "Check that this machine can reach GEMINI_BASE_URL, and the proxy in HTTPS_PROXY if there is one"
LIMIT_REMEDY = "Wait, or raise the limit in AI Studio; jobs wait by themselves"


def model_verdict(found: ModelInfo, key_label: str, model: str) -> Verdict:
    """The verdict on a successful lookup of ``model``."""
    if not found.name:
        return fault(f"{key_label}: the response for {model} is not from Gemini's API", ADDRESS_REMEDY)
    if found.methods and METHOD not in found.methods:
        methods = ", ".join(found.methods)[:200]
        return fault(f"{key_label}: {model} does not support {METHOD} ({methods})", MODEL_REMEDY)
    also = f" ({found.display_name[:100]})" if found.display_name else ""
    return ok(f"{key_label}: the key is accepted, {model}{also} is there")


def error_verdict(error: errors.JobError, key_label: str) -> Verdict:
    """The verdict on a lookup that failed with ``error``."""
    problem = f"{key_label}: {error.message}"
    match error:
        case errors.ProviderLimited():
            return warning(problem, LIMIT_REMEDY)
        case errors.ProviderRefused():
            return fault(problem, KEY_REMEDY)
        case errors.ProviderRejected():
            return fault(problem, MODEL_REMEDY)
        case _:
            return fault(problem, NETWORK_REMEDY)


def _parsed(body: str) -> Json:
    if not body or body.isspace():
        raise errors.NoImage("Gemini's response was empty.")
    try:
        return object_in(json.loads(body))
    except (ValueError, RecursionError):
        pass
    raise errors.ProviderUnavailable(f"Gemini's response of {len(body)} characters is not complete JSON.", spent=True)


def _prompt_refusal(response: Json) -> errors.JobError | None:
    """The error if the prompt itself was blocked: no model ran, so nothing is charged."""
    reason = _word(object_in(response.get("promptFeedback")).get("blockReason"))
    if reason is None:
        return None
    why = BLOCKED.get(reason, "for an unknown reason")
    return errors.ContentBlocked(f"Gemini blocked the prompt: {why} ({reason}).", spent=False)


def _image_refusal(reasons: list[str]) -> errors.JobError | None:
    for reason in reasons:
        if reason == ACCOUNT_LIMITED:
            return errors.ProviderRefused(f"Google has limited this account ({reason}).")
        if reason in BLOCKED:
            return errors.ContentBlocked(f"Gemini blocked the image: {BLOCKED[reason]} ({reason}).", spent=True)
    return None


def _first_image(parts: list[Json]) -> str | None:
    """The first image that is not a thought: a thinking model may show a draft before the image."""
    for part in parts:
        data = object_in(part.get("inlineData")).get("data")
        if not part.get("thought") and isinstance(data, str) and data:
            return data
    return None


def _no_image(parts: list[Json], reasons: list[str]) -> errors.JobError:
    """The model's text is counted, not quoted: it is private to the user and must not reach a log."""
    letters = sum(len(text) for part in parts if isinstance(text := part.get("text"), str) and not part.get("thought"))
    content = f"{letters} characters of text" if letters else "nothing"
    return errors.NoImage(
        f"Gemini answered with {content} instead of an image ({', '.join(reasons) or 'no reason given'})."
    )


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, altchars=b"-_" if "-" in encoded or "_" in encoded else None, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise errors.OutputRejected(f"Gemini's image of {len(encoded)} characters is not valid base64.")


def _usage(usage: Json) -> dict[str, int]:
    """The token counts that Google bills by; missing ones are left out."""
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
    """The printable characters of ``value``, bounded, if it is text and has any."""
    text = value[:LONGEST_WORD] if isinstance(value, str) else ""
    return "".join(letter for letter in text if letter.isprintable()) or None


def _operator_must_act(details: ErrorDetails) -> bool:
    """True for a redirect too, and for a 400 because of a wrong key, disabled billing or an unsupported region."""
    return (
        details.code in OPERATOR_MUST_ACT
        or details.code < 400
        or details.status == "FAILED_PRECONDITION"
        or any(reason.startswith("API_KEY_") for reason in details.reasons)
    )


def _limited(details: ErrorDetails, now: datetime) -> errors.ProviderLimited:
    """The quota decides before the delay: a daily quota can come with a delay of seconds."""
    which = ", ".join(details.quotas) or "quota not named"
    if any("PerDay" in quota for quota in details.quotas):
        return errors.ProviderLimited(
            f"Google's daily limit is reached ({which}).", wait=daily_quota_wait(now), scope="day"
        )
    wait = retry_wait(details.retry_delay, details.retry_after, now)
    return errors.ProviderLimited(f"Google's rate limit is reached ({which}).", wait=wait)


def _quotas(detail: Json, key: str) -> Iterator[str]:
    for violation in objects_in(detail.get("violations")):
        if quota := _text(violation.get("quotaId"), key):
            yield quota


def _text(value: object, key: str) -> str:
    """``value`` if it is text, bounded. The key is redacted first: some of Google's messages contain it."""
    return value.replace(key, "[key]")[:LONGEST_TEXT] if isinstance(value, str) else ""


def _unwrapped(body: object) -> object:
    """The error of a streaming endpoint is in a list of one."""
    return next(objects_in(body), body)
