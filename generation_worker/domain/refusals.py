"""What is refused, with nothing changed, as exceptions that say what to do.

EnqueueRefused
├── InvalidRequest        something that was asked for is not valid
├── IdempotencyConflict   the key was used for another request
├── InsufficientCredits   the balance does not cover what is waiting
├── TooManyWaiting        the user has as many jobs waiting as the caller may have
├── JobNotFound           there is no such job
├── JobNotReplayable      the job is not failed or cancelled
├── JobIsFinal            the job has ended, so it cannot be cancelled
├── JobNotWaiting         the job runs or has ended
├── JobNotReleasable      the job waits for nothing, or has ended
├── EndpointNotFound      there is no such endpoint
├── EndpointDisabled      the endpoint is told nothing until it is enabled
└── DeliveryNotFound      there is no such delivery
"""

from __future__ import annotations

from typing import ClassVar


class EnqueueRefused(Exception):
    """The request was refused and nothing was changed.

    ``code`` never changes its meaning, ``message`` names the field and the problem, ``hint`` is the
    remedy or empty.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.hint = hint


class InvalidRequest(EnqueueRefused):
    """Something that was asked for is not valid; the message names the field."""

    code = "invalid_request"


class IdempotencyConflict(EnqueueRefused):
    """The idempotency key was used for another request."""

    code = "idempotency_conflict"


class InsufficientCredits(EnqueueRefused):
    """The balance does not cover what is asked for and what already waits."""

    code = "insufficient_credits"


class JobNotFound(EnqueueRefused):
    """There is no job with this id."""

    code = "job_not_found"


class JobNotReplayable(EnqueueRefused):
    """Only a job that failed or was cancelled can be replayed."""

    code = "job_not_replayable"


class InputGone(EnqueueRefused):
    """A job is to be replayed whose uploaded image was deleted since."""

    code = "input_gone"


class TooManyWaiting(EnqueueRefused):
    """The user has as many jobs waiting as the caller may have at once."""

    code = "too_many_waiting"


class JobIsFinal(EnqueueRefused):
    """Only a job that has not ended can be cancelled."""

    code = "job_is_final"


class JobNotWaiting(EnqueueRefused):
    """Only a job that waits can be put at the front of its lane."""

    code = "job_not_waiting"


class JobNotReleasable(EnqueueRefused):
    """Only a job that waits for its time, or that a worker holds, can be released."""

    code = "job_not_releasable"


class EndpointNotFound(EnqueueRefused):
    """There is no webhook endpoint with this id."""

    code = "endpoint_not_found"


class EndpointDisabled(EnqueueRefused):
    """The endpoint is disabled: nothing is sent to it until it is enabled."""

    code = "endpoint_disabled"


class DeliveryNotFound(EnqueueRefused):
    """There is no delivery with this id."""

    code = "delivery_not_found"
