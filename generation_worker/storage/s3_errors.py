"""What a failed request means, in words for whoever runs the worker: the cause and, if there is one, the remedy.

Nothing that the server or boto3 wrote goes on, but for short codes: their texts hold addresses, keys and signatures.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from generation_worker.domain.errors import JobError, StorageUnavailable

NOT_THERE = ("NoSuchKey", "404")
"""404 alone: an answer without a body, as a proxy gives it."""

_WRONG_KEY = "check the access key id"
_WRONG_SECRET = "check the secret access key: the signature made with it is wrong"  # noqa: S105 - words, no secret
_NOT_ALLOWED = "the key must be allowed to list the bucket and to get, put and delete its objects"
_WRONG_REGION = "the bucket lies in another region: check the region and the endpoint"
REMEDIES = {
    "AccessDenied": _NOT_ALLOWED,
    "AccountProblem": "the account is suspended or unpaid",
    "AllAccessDisabled": "the account is suspended or unpaid",
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "ExpiredToken": "the key has expired: make a new one",
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidBucketName": "check the name of the bucket",
    "NoSuchBucket": "there is no such bucket: check its name, or create it",
    "PermanentRedirect": _WRONG_REGION,
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "Unauthorized": "check the access key id and the secret access key",
}
"""By S3's own codes, which R2 and others use as well."""

FAULTS = {
    "ConnectTimeoutError": "no connection in time",
    "ConnectionClosedError": "the connection was cut before the answer came",
    "EndpointConnectionError": "no connection; check the endpoint and that the server runs",
    "IncompleteReadError": "the connection was cut in the middle of the answer",
    "ProxyConnectionError": "no connection to the HTTP proxy",
    "ReadTimeoutError": "no answer in time",
    "ResponseStreamingError": "the connection was cut in the middle of the answer",
    "SSLError": "the server's certificate was not accepted",
}
"""By the name of boto3's exception."""


@contextmanager
def told(storage: str, what: str) -> Generator[None]:
    """Turns every failure of a request into StorageUnavailable."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        if (found := _cause(error)) is None:
            raise
        cause, remedy = found
        told = f"{storage}: {what}: {cause}" + (f": {remedy}" if remedy else "")
        raise StorageUnavailable(told, remedy=remedy) from error


def code_of(error: BaseException) -> str | None:
    """The server's code for its refusal; None if it is no refusal."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return re.sub(r"\W", "", str(code))[:64] if code else None


def _cause(error: Exception) -> tuple[str, str] | None:
    """The cause and its remedy, which may be empty; None if it is no failure of a request."""
    exceptions = import_module("botocore.exceptions")
    if isinstance(error, exceptions.ClientError):
        return _refusal(error)
    if isinstance(error, exceptions.BotoCoreError):
        name = type(error).__name__
        return FAULTS.get(name, name), ""
    return None


def _refusal(error: Exception) -> tuple[str, str]:
    code, status = code_of(error), _status(error)
    refusal = f"{code} (HTTP {status})" if code != str(status) else f"HTTP {status}"
    return refusal, REMEDIES.get(code or "") or (_NOT_ALLOWED if status == 403 else "")


def _status(error: Exception) -> int:
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
