"""What can go wrong with one attempt, and what follows from it.

Each class answers three questions, so that nobody has to parse a message twice:
``retry`` (is another attempt worth it?), ``wait`` (was it only too early? then no
attempt is used up) and ``spent`` (may the provider have charged us? the class says
what is usual, an instance may know better).

    JobError
    ├── InvalidPayload           the job itself is wrong: final
    ├── InputError
    │   ├── InputRejected        not an image, too large, a bomb: final
    │   ├── InputNotFound        no object under that key: final
    │   └── InputUnavailable     could not be read just now
    ├── ProviderError
    │   ├── ProviderRejected     the provider says the request is wrong: final
    │   ├── ProviderRefused      the provider refuses us: key, billing or permission; wait, no attempt is used up
    │   ├── ProviderUnavailable  5xx, refused connection
    │   ├── ProviderTimedOut     no answer in time; may have been charged
    │   ├── ProviderLimited      429; wait, no attempt is used up
    │   │   └── GateClosed       not even asked: the fleet knows that it is too early
    │   ├── NoImage              an answer without an image; charged
    │   ├── OutputRejected       an answer that is not an image; charged
    │   ├── CallLost             the answer to an earlier call cannot be had any more; charged
    │   └── ContentBlocked       the provider's content rules: final, its own outcome
    ├── StorageUnavailable       the bytes could not be stored
    ├── AttemptTimedOut          the attempt outlived its own deadline
    ├── PaidCallsExhausted       no further paid call is allowed for this job: final
    ├── ProviderNotConfigured    no adapter under that name here: final
    └── InternalError            a fault of ours
"""

from __future__ import annotations

from typing import ClassVar, Literal

MESSAGE_LIMIT = 2000
"""Longest error message that is kept with a job, in characters."""


class JobError(Exception):
    """An attempt failed. ``code`` is what operators group by and never changes its meaning."""

    code: ClassVar[str] = "internal_error"
    retry: ClassVar[bool] = False
    spent: bool = False

    def __init__(self, message: str | None = None, *, spent: bool | None = None) -> None:
        super().__init__(message or self._meaning())
        if spent is not None:
            self.spent = spent

    @property
    def message(self) -> str:
        return clean_message(super().__str__()) or self._meaning()

    def _meaning(self) -> str:
        """What the class says of itself: its docstring, or its name where there is none (or ``python -OO`` took it)."""
        return (type(self).__doc__ or type(self).__name__).splitlines()[0]


class InvalidPayload(JobError):
    """The job's payload is not valid."""

    code = "invalid_payload"


class InputError(JobError):
    """An input image could not be used."""

    code = "input_rejected"


class InputRejected(InputError):
    """The input is not an image that can be used."""

    code = "input_rejected"


class InputNotFound(InputError):
    """The input image does not exist."""

    code = "input_not_found"


class InputUnavailable(InputError):
    """The input image cannot be read just now."""

    code = "input_unavailable"
    retry = True


class ProviderError(JobError):
    """The provider did not make an image."""

    code = "provider_unavailable"


class ProviderRejected(ProviderError):
    """The provider refused the request as invalid."""

    code = "provider_rejected"


class ProviderRefused(ProviderError):
    """The provider refuses us, for the key, billing or a permission: an operator must act.

    ``wait`` is how many seconds the key's breaker will be open, or None where there is none.
    """

    code = "provider_refused"
    retry = True
    wait: float | None = None


class ProviderUnavailable(ProviderError):
    """The provider is not available just now."""

    code = "provider_unavailable"
    retry = True


class ProviderTimedOut(ProviderError):
    """The provider did not answer in time."""

    code = "provider_timeout"
    retry = True
    spent = True


class ProviderLimited(ProviderError):
    """The provider's rate limit is reached.

    ``wait`` is how long it asked us to wait, in seconds, or None if it did not say. ``scope`` tells a limit that is
    over within minutes from one that lasts until the provider's next day.
    """

    code = "rate_limited"
    retry = True

    def __init__(
        self, message: str | None = None, *, wait: float | None = None, scope: Literal["minute", "day"] = "minute"
    ) -> None:
        super().__init__(message)
        self.wait = wait
        self.scope: Literal["minute", "day"] = scope


class GateClosed(ProviderLimited):
    """The provider was not asked, since the key's limit is used up, or its gate is closed."""

    code = "gate_closed"


class NoImage(ProviderError):
    """The provider answered without an image."""

    code = "no_image"
    retry = True
    spent = True


class OutputRejected(ProviderError):
    """The provider's answer is not an image that can be used."""

    code = "output_rejected"
    retry = True
    spent = True


class CallLost(ProviderError):
    """The provider does not keep the answer to an earlier call any more."""

    code = "call_lost"
    retry = True
    spent = True


class ContentBlocked(ProviderError):
    """The provider's content rules do not allow this image."""

    code = "content_blocked"


class StorageUnavailable(JobError):
    """The image could not be stored.

    ``kept``: it is paid for and waits to be stored, or may be stored already. Trying again costs nothing.
    ``remedy`` is the part of the message that says what to put right, if it is known.
    """

    code = "storage_unavailable"
    retry = True

    def __init__(
        self, message: str | None = None, *, spent: bool | None = None, kept: bool = False, remedy: str = ""
    ) -> None:
        super().__init__(message, spent=spent)
        self.kept = kept
        self.remedy = remedy


class AttemptTimedOut(JobError):
    """The attempt did not end within its time."""

    code = "attempt_timeout"
    retry = True


class PaidCallsExhausted(JobError):
    """No further paid call is allowed for this job."""

    code = "paid_calls_exhausted"


class ProviderNotConfigured(JobError):
    """This worker has no such provider."""

    code = "provider_not_configured"


class InternalError(JobError):
    """A fault in the worker itself."""

    code = "internal_error"
    retry = True


class AttemptStopped(Exception):
    """The attempt must end now, for a reason that lies outside it."""


class CancelRequested(AttemptStopped):
    """Somebody asked to cancel the job."""


class LeaseLost(AttemptStopped):
    """The lease is gone or cannot be proved; whatever this attempt knows counts no longer."""


class ShuttingDown(AttemptStopped):
    """The grace period is over; the job goes back without using up an attempt."""


def clean_message(text: str) -> str:
    """``text`` as one bounded line without control characters, fit for a row, a log and a terminal."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
