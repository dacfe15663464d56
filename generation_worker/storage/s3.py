"""Objects in a bucket of S3, of Cloudflare R2, or of any server with S3's API."""

from __future__ import annotations

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
from generation_worker.storage.disk import MOST_BYTES, key_parts, names_an_object, too_large
from generation_worker.storage.s3_client import Bucket, Client, Patience, open_client

# What a failed request means, in words for whoever runs the worker: the cause and, if there is one, the remedy.
#
# Nothing that the server or boto3 wrote goes on, but for short codes: their texts hold addresses, keys and signatures.


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


LONGEST_LINK = 7 * 86_400
"""Seconds. S3 and R2 refuse a link that is signed for longer, but only when somebody opens it."""
PAGE = 1000
"""Most objects that one answer lists."""
PROBE = ".generation-worker-probe-"
"""Begins the key of an empty object that shows, before anything is paid for, that images can be stored."""
A_YEAR = 365 * 86_400


class S3Storage:
    """Keeps each object under its key in one bucket. ``connections`` should be the number of threads and a few more.

    ``public_url`` is where everybody can read the bucket; without it, links are signed and end.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        name: str = "s3",
        public_url: str | None = None,
        connections: int = 10,
        patience: Patience | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.name = name
        self._bucket = bucket
        self._public_url = public_url
        self._connections = connections
        self._patience = patience or Patience()
        self._most_bytes = most_bytes
        self._made: Client | None = None
        self._making = threading.Lock()

    @property
    def longest(self) -> float:
        return self._patience.longest

    def __repr__(self) -> str:
        return f"S3Storage({self.name}, {self._bucket!r})"

    def warm_up(self) -> None:
        """See whether the bucket can be listed and written. Raises StorageUnavailable, which says what to put right."""
        probe = PROBE + uuid4().hex  # of its own: R2 allows one write a second to a key, and a fleet starts at once
        with told(self.name, f"cannot use the bucket {self._bucket.name}"):
            self._client.list_objects_v2(Bucket=self._bucket.name, MaxKeys=1)
            self._put(probe, b"", "text/plain")
            self._client.delete_object(Bucket=self._bucket.name, Key=probe)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data``; who reads at the same time sees the old object or the new one.

        Raises StorageUnavailable, also when nobody knows whether it was stored: to store it again does no harm. Raises
        ValueError if ``key`` cannot name an object.
        """
        key_parts(key)
        with told(self.name, f"cannot write {key}"):
            answer = self._put(key, data, content_type)
        if not answer.get("ETag"):
            raise StorageUnavailable(f"{self.name}: cannot write {key}: the answer does not say that it was stored")

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None: also for a key that can name none.

        Raises StorageUnavailable, or InputRejected if it is too large to be read.
        """
        if not names_an_object(key):
            return None
        with told(self.name, f"cannot read {key}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket.name, Key=key)
            except Exception as error:
                if code_of(error) in NOT_THERE:
                    return None
                raise
            return self._body(key, answer)

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable, or ValueError if ``key`` can name none."""
        key_parts(key)
        with told(self.name, f"cannot delete {key}"):
            try:
                self._client.delete_object(Bucket=self._bucket.name, Key=key)
            except Exception as error:
                if code_of(error) not in NOT_THERE:
                    raise

    def link(self, key: str, *, seconds: float) -> str | None:
        """Where a browser finds the object: for ``seconds``, or for good if the bucket is public. Asks nobody.

        Raises ValueError if ``key`` cannot name an object, or if a link cannot last so long.
        """
        key_parts(key)
        if not 0 < seconds <= LONGEST_LINK:
            raise ValueError(f"a link lasts up to {LONGEST_LINK} seconds, not {seconds:g}")
        if self._public_url is not None:
            return f"{self._public_url}/{quote(key)}"
        asked = {"Bucket": self._bucket.name, "Key": key}
        return self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=math.ceil(seconds))

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """Objects whose keys begin with ``prefix``, in the order of their keys, from the first after ``start_after``.

        Fewer than ``limit`` only if there are no more. Raises StorageUnavailable.
        """
        found: list[StoredObject] = []
        more = True
        while more and len(found) < limit:
            with told(self.name, f"cannot list {prefix}"):
                answer = self._client.list_objects_v2(
                    Bucket=self._bucket.name,
                    Prefix=prefix,
                    StartAfter=found[-1].key if found else start_after,
                    MaxKeys=min(limit - len(found), PAGE),
                )
            found += [_stored(entry) for entry in answer.get("Contents", ())]
            more = bool(answer.get("IsTruncated")) and bool(answer.get("Contents"))
        return found

    def discard_unfinished(self, *, older_than: float) -> int:  # noqa: ARG002 - a write that is cut off leaves nothing
        return 0

    def _put(self, key: str, data: bytes, content_type: str) -> Mapping[str, Any]:
        # An object never changes, and its key cannot be guessed.
        whose = "private" if self._public_url is None else "public"
        return self._client.put_object(
            Bucket=self._bucket.name,
            Key=key,
            Body=data,
            ContentType=content_type,
            ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            ContentDisposition="inline",
            CacheControl=f"{whose}, max-age={A_YEAR}, immutable",
        )

    def _body(self, key: str, answer: Mapping[str, Any]) -> bytes:
        # In a "with" of its own it gives the stream below it, whose errors nobody translates.
        with closing(answer["Body"]) as body:
            data: bytes = body.read(self._most_bytes + 1)
        if len(data) > self._most_bytes:
            raise too_large(key, self._most_bytes)
        length = answer.get("ContentLength")
        if length is not None and len(data) != length:  # boto3 looks only if it is to read everything
            raise StorageUnavailable(f"{self.name}: cannot read {key}: only {len(data)} of {length} bytes came")
        return data

    @property
    def _client(self) -> Client:
        """One for all threads, made when it is first needed."""
        if self._made is None:
            with self._making:
                self._made = self._made or open_client(
                    self._bucket, connections=self._connections, patience=self._patience
                )
        return self._made


def _stored(entry: Mapping[str, Any]) -> StoredObject:
    return StoredObject(entry["Key"], entry["LastModified"].astimezone(UTC))
