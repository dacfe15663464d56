"""Refused requests. Each exception names the problem and the remedy; nothing was changed.

RequestRefused
├── InvalidRequest        a value of the request is not valid
├── IdempotencyConflict   the key was used for another request
├── InsufficientCredits   the balance does not cover the waiting jobs
├── TooManyWaiting        the user has as many waiting jobs as the caller may enqueue
├── JobNotFound           there is no such job
├── JobNotReplayable      the job is not failed or cancelled
├── InputGone             an uploaded image of the job to replay was deleted
├── JobIsFinal            the job has ended, so it cannot be cancelled
├── JobNotWaiting         the job runs or has ended
├── JobNotReleasable      the job is neither delayed nor leased
├── EndpointNotFound      there is no such webhook endpoint
├── EndpointDisabled      the webhook endpoint receives nothing until it is enabled
└── DeliveryNotFound      there is no such webhook delivery
"""

from typing import ClassVar


class RequestRefused(Exception):
    """The request was refused and nothing was changed.

    ``code`` never changes its meaning, ``message`` names the field and the problem, ``hint`` is the remedy or empty.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.hint = hint


EnqueueRefused = RequestRefused
"""Its name in the Python API."""


class InvalidRequest(RequestRefused):
    """A value of the request is not valid; the message names its field."""

    code = "invalid_request"


class IdempotencyConflict(RequestRefused):
    """The idempotency key was used for another request."""

    code = "idempotency_conflict"


class InsufficientCredits(RequestRefused):
    """The balance does not cover this request and the jobs that already wait."""

    code = "insufficient_credits"


class JobNotFound(RequestRefused):
    """There is no job with this id."""

    code = "job_not_found"


class JobNotReplayable(RequestRefused):
    """Only a job that failed or was cancelled can be replayed."""

    code = "job_not_replayable"


class InputGone(RequestRefused):
    """The job to replay names an uploaded image that has been deleted."""

    code = "input_gone"


class TooManyWaiting(RequestRefused):
    """The user has as many waiting jobs as the caller may enqueue for one user."""

    code = "too_many_waiting"


class JobIsFinal(RequestRefused):
    """The job has ended; only a job that waits or runs can be cancelled."""

    code = "job_is_final"


class JobNotWaiting(RequestRefused):
    """The job runs or has ended; only a waiting job can be moved to the front of its lane."""

    code = "job_not_waiting"


class JobNotReleasable(RequestRefused):
    """Only a delayed job, or one that a worker has leased, can be released."""

    code = "job_not_releasable"


class EndpointNotFound(RequestRefused):
    """There is no webhook endpoint with this id."""

    code = "endpoint_not_found"


class EndpointDisabled(RequestRefused):
    """The endpoint is disabled: nothing is sent to it until it is enabled."""

    code = "endpoint_disabled"


class DeliveryNotFound(RequestRefused):
    """There is no webhook delivery with this id."""

    code = "delivery_not_found"
