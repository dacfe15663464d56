"""The errors of one attempt, and what follows from each.

Adapters translate every failure into one of these, so that no other code parses a
message. Each class has ``retry`` (whether another attempt is made), ``wait`` (if the
call was only too early, the job waits and no attempt is used up) and ``spent``
(whether the provider may have charged the call: the class has the usual value, an
instance may have another one).

    JobError
    ├── InvalidPayload           the job itself is wrong: final
    ├── InputError
    │   ├── InputRejected        not an image, too large, a bomb: final
    │   ├── InputNotFound        no object under that key: final
    │   └── InputUnavailable     could not be read now
    ├── ProviderError
    │   ├── ProviderRejected     the provider rejects the request as invalid: final
    │   ├── ProviderRefused      the provider refuses the key or its account; wait, no attempt is used up
    │   ├── ProviderUnavailable  5xx, refused connection
    │   ├── ProviderTimedOut     no answer in time; may have been charged
    │   ├── ProviderLimited      429; wait, no attempt is used up
    │   │   └── GateClosed       no call was made: the fleet's gate for the key is closed
    │   ├── NoImage              an answer without an image; charged
    │   ├── OutputRejected       an answer that is not an image; charged
    │   ├── CallLost             the answer to an earlier call is not available any more; charged
    │   └── ContentBlocked       the provider's content rules: final, its own outcome
    ├── StorageUnavailable       the bytes could not be stored
    ├── AttemptTimedOut          the attempt exceeded its own deadline
    ├── PaidCallsExhausted       no further paid call is allowed for this job: final
    ├── ProviderNotConfigured    this worker has no adapter of that name: final
    └── InternalError            a fault of the worker
"""

from typing import ClassVar, Literal

MESSAGE_LIMIT = 2000
"""The longest error message of a job, in characters."""


class JobError(Exception):
    """An attempt failed. Operators group by ``code``; its meaning never changes."""

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
        """The first line of the class's docstring; its name if it has none, or ``python -OO`` removed it."""
        return (type(self).__doc__ or type(self).__name__).splitlines()[0]


class InvalidPayload(JobError):
    """The job's payload is not valid."""

    code = "invalid_payload"


class InputError(JobError):
    """An input image could not be used."""

    code = "input_rejected"


class InputRejected(InputError):
    """The input is not a usable image."""

    code = "input_rejected"


class InputNotFound(InputError):
    """The input image does not exist."""

    code = "input_not_found"


class InputUnavailable(InputError):
    """The input image cannot be read now."""

    code = "input_unavailable"
    retry = True


class ProviderError(JobError):
    """The provider did not make an image."""

    code = "provider_unavailable"


class ProviderRejected(ProviderError):
    """The provider refused the request as invalid."""

    code = "provider_rejected"


class ProviderRefused(ProviderError):
    """The provider refuses the key, its billing or its permissions: an operator must act.

    ``wait`` is how many seconds the key's breaker will be open, or None where there is none.
    """

    code = "provider_refused"
    retry = True
    wait: float | None = None


class ProviderUnavailable(ProviderError):
    """The provider is not available now."""

    code = "provider_unavailable"
    retry = True


class ProviderTimedOut(ProviderError):
    """The provider did not answer in time."""

    code = "provider_timeout"
    retry = True
    spent = True


class ProviderLimited(ProviderError):
    """The provider's rate limit is reached.

    ``wait`` is the wait that the provider requests, in seconds, or None if it requests none. ``scope`` is "minute" for
    a limit that ends within minutes, and "day" for one that lasts until the provider's next day.
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
    """No call was made, because the limit of the key is used up or its gate is closed."""

    code = "gate_closed"


class NoImage(ProviderError):
    """The provider answered without an image."""

    code = "no_image"
    retry = True
    spent = True


class OutputRejected(ProviderError):
    """The provider's answer is not a usable image."""

    code = "output_rejected"
    retry = True
    spent = True


class CallLost(ProviderError):
    """The provider does not have the answer to an earlier call any more."""

    code = "call_lost"
    retry = True
    spent = True


class ContentBlocked(ProviderError):
    """The provider's content rules do not allow this image."""

    code = "content_blocked"


class StorageUnavailable(JobError):
    """The image could not be stored.

    ``kept``: it is paid and waits to be stored, or may be stored already, so another attempt costs nothing.
    ``remedy`` is the part of the message that names the solution, if it is known.
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
    """The attempt must end now, for an external reason."""


class CancelRequested(AttemptStopped):
    """The job was cancelled."""


class LeaseLost(AttemptStopped):
    """The lease is lost or cannot be proved: the result of this attempt does not count any more."""


class ShuttingDown(AttemptStopped):
    """The grace period is over: the job is given back, and no attempt is used up."""


def clean_message(text: str) -> str:
    """``text`` as one bounded line without control characters, fit for a row, a log and a terminal."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
