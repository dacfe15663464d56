"""The one place that touches boto3. It has no types and takes half a second to import: loaded when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Protocol

Answer = Mapping[str, Any]

_one_at_a_time = threading.Lock()
"""Clients are safe in many threads, the session that makes them is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket and the key to it. Without an endpoint it is Amazon's."""

    name: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str
    endpoint_url: str | None = None
    expect_continue: bool = True
    """Ask whether the body may be sent before sending it: an image that will be refused is not sent at all."""


def r2_bucket(name: str, *, account_id: str, access_key_id: str, secret_access_key: str) -> Bucket:
    """A bucket of Cloudflare's. R2 does not answer ``Expect: 100-continue``: each write would wait a second for it."""
    return Bucket(
        name=name,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        region="auto",
        endpoint_url=f"https://{account_id}.r2.cloudflarestorage.com",
        expect_continue=False,
    )


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for a connection and for an answer, and how often to try.

    Twice, because a connection that lay idle may have been closed. An attempt that stores an image goes on trying by
    itself, and looks at its lease in between.
    """

    connect: float = 5.0
    answer: float = 10.0
    tries: int = 2

    @property
    def longest(self) -> float:
        """Seconds after which an operation has ended on a server that falls silent at the worst moments: at each try,
        and once more in the middle of an object that it sends. Between tries boto3 waits up to 1, 2, 4 … seconds.
        """
        return self.tries * (self.connect + self.answer) + 2 ** (self.tries - 1) - 1 + self.answer


class Client(Protocol):
    """What is used of boto3's client."""

    def put_object(self, **parameters: Any) -> Answer: ...
    def get_object(self, **parameters: Any) -> Answer: ...
    def delete_object(self, **parameters: Any) -> Answer: ...
    def list_objects_v2(self, **parameters: Any) -> Answer: ...
    def generate_presigned_url(self, ClientMethod: str, *, Params: Answer, ExpiresIn: int) -> str: ...


def open_client(bucket: Bucket, *, connections: int, patience: Patience) -> Client:
    """A client that shares ``connections`` between threads; it connects when it is first asked for something."""
    with _one_at_a_time:
        client = _session().client(
            "s3",
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret_access_key,
            endpoint_url=bucket.endpoint_url,
            config=client_config(bucket, connections=connections, patience=patience),
        )
    if not bucket.expect_continue:
        client.meta.events.unregister("before-call.s3", import_module("botocore.handlers").add_expect_header)
    return client


@cache
def _session() -> Any:
    """It holds the description of S3, which takes a third of a second to read, and no key."""
    return import_module("boto3.session").Session()


def client_config(bucket: Bucket, *, connections: int, patience: Patience) -> Any:
    """What boto3 must be told; its own defaults fit neither R2 nor many threads."""
    return import_module("botocore.config").Config(
        region_name=bucket.region,
        # Presigned links would be of version 2 without it, which newer regions refuse.
        signature_version="s3v4",
        # A server of one's own rarely has a name for each bucket.
        s3={"addressing_style": "virtual" if bucket.endpoint_url is None else "path"},
        # R2 refuses the checksums that boto3 adds by default; Content-MD5 protects what is written.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=patience.connect,
        read_timeout=patience.answer,
        retries={"mode": "standard", "total_max_attempts": patience.tries},
        max_pool_connections=connections,
        # Images must not go elsewhere because a variable or a file of the AWS tools names another server.
        ignore_configured_endpoint_urls=True,
    )
