"""What an answer with a status other than 200 amounts to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from generation_worker.domain.errors import (
    JobError,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.providers.gemini_limits import next_day, wait_of
from generation_worker.providers.loose_json import Json, object_in, objects_in

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
