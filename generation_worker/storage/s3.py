"""Objects in a bucket of S3, of Cloudflare R2, or of any server with S3's API."""

from __future__ import annotations

import base64
import hashlib
import math
import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.ports import StoredObject
from generation_worker.storage.keys import MOST_BYTES, key_parts, names_an_object, too_large
from generation_worker.storage.s3_client import Bucket, Client, Patience, open_client
from generation_worker.storage.s3_errors import NOT_THERE, code_of, told

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
