"""Stores objects in a bucket of Amazon S3, Cloudflare R2 or another server with S3's API.

A failed request becomes one sentence for operators: the cause and, if known, the remedy. Of the texts of the server and
of boto3 only short codes are passed on, because the texts contain addresses, keys and signatures.
"""

import base64
import hashlib
import math
import re
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC
from importlib import import_module
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from generation_worker.domain.errors import JobError, StorageUnavailable
from generation_worker.ports import StoredObject
from generation_worker.storage.disk import MOST_BYTES, is_valid_key, key_parts, too_large
from generation_worker.storage.s3_client import Bucket, S3Client, S3Timeouts, open_client

LONGEST_LINK = 7 * 86_400
"""Seconds. S3 and R2 refuse links that are signed for longer, but only when they are opened."""
PAGE_SIZE = 1000
"""Most objects in one response to a list request."""
PROBE = ".generation-worker-probe-"
"""Key prefix of an empty object whose write shows, before anything is paid for, that images can be stored."""
ONE_YEAR = 365 * 86_400
"""Seconds."""
NOT_THERE = ("NoSuchKey", "404")
"""Codes for a missing object. 404 stands for a response without a body, as a proxy sends it."""

_WRONG_KEY = "check the access key id"
_WRONG_SECRET = "check the secret access key: its signature is wrong"  # noqa: S105 - words, no secret
_NOT_ALLOWED = "the key must be allowed to list the bucket and to get, put and delete its objects"
_WRONG_REGION = "the bucket is in another region: check the region and the endpoint"
REMEDIES = {
    "AccessDenied": _NOT_ALLOWED,
    "AccountProblem": "the account is suspended or unpaid",
    "AllAccessDisabled": "the account is suspended or unpaid",
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "ExpiredToken": "the key has expired: create a new one",
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidBucketName": "check the name of the bucket",
    "NoSuchBucket": "the bucket does not exist: check its name, or create it",
    "PermanentRedirect": _WRONG_REGION,
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "Unauthorized": "check the access key id and the secret access key",
}
"""Remedies by S3's error code, which R2 and others use as well."""

FAULTS = {
    "ConnectTimeoutError": "no connection in time",
    "ConnectionClosedError": "the connection ended before the response",
    "EndpointConnectionError": "no connection; check the endpoint and that the server is running",
    "IncompleteReadError": "the connection ended in the middle of the response",
    "ProxyConnectionError": "no connection to the HTTP proxy",
    "ReadTimeoutError": "no response in time",
    "ResponseStreamingError": "the connection ended in the middle of the response",
    "SSLError": "the server's certificate was not accepted",
}
"""Causes by the name of boto3's exception."""


class S3Storage:
    """Stores each object under its key in one bucket. Safe to use from many threads at once.

    ``connections`` should be slightly more than the number of threads. ``public_url`` is the address at which the
    bucket is publicly readable; without it, links are signed and expire. An object of more than ``most_bytes`` is not
    read.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        name: str = "s3",
        public_url: str | None = None,
        connections: int = 10,
        timeouts: S3Timeouts | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.name = name
        self._bucket = bucket
        self._public_url = public_url
        self._connections = connections
        self._timeouts = timeouts or S3Timeouts()
        self._most_bytes = most_bytes
        self._opened: S3Client | None = None
        self._opening = threading.Lock()

    @property
    def longest(self) -> float:
        return self._timeouts.longest

    def __repr__(self) -> str:
        return f"S3Storage({self.name}, {self._bucket!r})"

    def warm_up(self) -> None:
        """Check that the bucket can be listed and written. Raises StorageUnavailable with the remedy, if known."""
        probe = (
            PROBE + uuid4().hex
        )  # unique: R2 allows one write a second for a key, and a whole fleet may start at once
        with translated_errors(self.name, f"cannot use the bucket {self._bucket.name}"):
            self._client.list_objects_v2(Bucket=self._bucket.name, MaxKeys=1)
            self._put(probe, b"", "text/plain")
            self._client.delete_object(Bucket=self._bucket.name, Key=probe)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data``; a concurrent reader sees the old object or the new one.

        Raises StorageUnavailable, also if it is unknown whether the object was stored: storing it again is safe. Raises
        ValueError for an invalid key.
        """
        key_parts(key)
        with translated_errors(self.name, f"cannot write {key}"):
            response = self._put(key, data, content_type)
        if not response.get("ETag"):
            raise StorageUnavailable(
                f"{self.name}: cannot write {key}: the response does not confirm that it was stored"
            )

    def get(self, key: str) -> bytes | None:
        """The object's bytes; None if there is none or the key is invalid.

        Raises StorageUnavailable, or InputRejected if the object is too large.
        """
        if not is_valid_key(key):
            return None
        with translated_errors(self.name, f"cannot read {key}"):
            try:
                response = self._client.get_object(Bucket=self._bucket.name, Key=key)
            except Exception as error:
                if error_code(error) in NOT_THERE:
                    return None
                raise
            return self._body(key, response)

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable, or ValueError for an invalid key."""
        key_parts(key)
        with translated_errors(self.name, f"cannot delete {key}"):
            try:
                self._client.delete_object(Bucket=self._bucket.name, Key=key)
            except Exception as error:
                if error_code(error) not in NOT_THERE:
                    raise

    def link(self, key: str, *, seconds: float) -> str | None:
        """A URL of the object that is valid for ``seconds``, or for ever if the bucket is public. Sends no request.

        Raises ValueError for an invalid key, or if a link cannot be valid that long.
        """
        key_parts(key)
        if not 0 < seconds <= LONGEST_LINK:
            raise ValueError(f"a link can be valid for at most {LONGEST_LINK} seconds, not {seconds:g}")
        if self._public_url is not None:
            return f"{self._public_url}/{quote(key)}"
        parameters = {"Bucket": self._bucket.name, "Key": key}
        return self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=math.ceil(seconds))

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """Objects whose keys begin with ``prefix`` and come after ``start_after``, in the order of their keys.

        Fewer than ``limit`` only if there are no more. Raises StorageUnavailable.
        """
        found: list[StoredObject] = []
        more = True
        while more and len(found) < limit:
            with translated_errors(self.name, f"cannot list {prefix}"):
                response = self._client.list_objects_v2(
                    Bucket=self._bucket.name,
                    Prefix=prefix,
                    StartAfter=found[-1].key if found else start_after,
                    MaxKeys=min(limit - len(found), PAGE_SIZE),
                )
            found += [_stored(entry) for entry in response.get("Contents", ())]
            more = bool(response.get("IsTruncated")) and bool(response.get("Contents"))
        return found

    def discard_unfinished(self, *, older_than: float) -> int:  # noqa: ARG002 - an interrupted write leaves nothing
        return 0

    def _put(self, key: str, data: bytes, content_type: str) -> Mapping[str, Any]:
        # Cached for long: an object never changes, and its key cannot be guessed.
        visibility = "private" if self._public_url is None else "public"
        return self._client.put_object(
            Bucket=self._bucket.name,
            Key=key,
            Body=data,
            ContentType=content_type,
            ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            ContentDisposition="inline",
            CacheControl=f"{visibility}, max-age={ONE_YEAR}, immutable",
        )

    def _body(self, key: str, response: Mapping[str, Any]) -> bytes:
        # Not "with response['Body']": that gives the inner stream, whose errors boto3 does not translate.
        with closing(response["Body"]) as body:
            data: bytes = body.read(self._most_bytes + 1)
        if len(data) > self._most_bytes:
            raise too_large(key, self._most_bytes)
        length = response.get("ContentLength")
        if length is not None and len(data) != length:  # boto3 checks this only for a complete read
            raise StorageUnavailable(f"{self.name}: cannot read {key}: only {len(data)} of {length} bytes arrived")
        return data

    @property
    def _client(self) -> S3Client:
        """One client for all threads, opened on first use."""
        if self._opened is None:
            with self._opening:
                self._opened = self._opened or open_client(
                    self._bucket, connections=self._connections, timeouts=self._timeouts
                )
        return self._opened


def _stored(entry: Mapping[str, Any]) -> StoredObject:
    return StoredObject(entry["Key"], entry["LastModified"].astimezone(UTC))


@contextmanager
def translated_errors(storage: str, operation: str) -> Generator[None]:
    """Raise every failure of a request as StorageUnavailable."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        if (found := _cause(error)) is None:
            raise
        cause, remedy = found
        message = f"{storage}: {operation}: {cause}" + (f": {remedy}" if remedy else "")
        raise StorageUnavailable(message, remedy=remedy) from error


def error_code(error: BaseException) -> str | None:
    """The error code in the server's response; None if there was no error response."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return re.sub(r"\W", "", str(code))[:64] if code else None


def _cause(error: Exception) -> tuple[str, str] | None:
    """The cause and its remedy, which may be empty; None if ``error`` is not a failed request."""
    exceptions = import_module("botocore.exceptions")
    if isinstance(error, exceptions.ClientError):
        return _refusal(error)
    if isinstance(error, exceptions.BotoCoreError):
        name = type(error).__name__
        return FAULTS.get(name, name), ""
    return None


def _refusal(error: Exception) -> tuple[str, str]:
    code, status = error_code(error), _status(error)
    refusal = f"{code} (HTTP {status})" if code != str(status) else f"HTTP {status}"
    return refusal, REMEDIES.get(code or "") or (_NOT_ALLOWED if status == 403 else "")


def _status(error: Exception) -> int:
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
