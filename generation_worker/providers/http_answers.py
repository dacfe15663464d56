"""What came back of one HTTP request, be it that nothing did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from generation_worker.domain.errors import JobError, ProviderTimedOut, ProviderUnavailable
from generation_worker.providers.gemini_limits import wait_of


class NoAnswer(Exception):
    """A request has no whole answer. ``sent``: it went out, so it may have been served."""

    def __init__(self, reason: str, *, sent: bool, timed_out: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        self.timed_out = timed_out

    def to_paid_call(self, provider: str) -> JobError:
        """What that amounts to if the request was the one that is paid: ``provider`` may be at work on it."""
        if not self.sent:
            return ProviderUnavailable(f"The request did not reach {provider} ({self}).")
        if self.timed_out:
            return ProviderTimedOut(f"{provider} did not answer in time.")
        return ProviderUnavailable(f"{provider}'s answer broke off ({self}).", spent=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON of any shape; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def retry_after(self) -> float | None:
        """Seconds that the header of that name asks for, as a number or as a date; None if it does not say."""
        return wait_of(None, self.headers.get("retry-after"), datetime.now(UTC))
