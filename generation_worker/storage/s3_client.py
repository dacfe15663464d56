"""Opens boto3 clients. boto3 is imported here only, and on first use: importing it takes half a second."""

import threading
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

S3Client = Any
"""boto3's client for S3; boto3 has no types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket and its credentials. Without an endpoint it is on Amazon S3."""

    name: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str
    endpoint_url: str | None = None
    expect_continue: bool = True
    """Send ``Expect: 100-continue``, so that the body of a request that will be refused is not sent at all."""


def r2_bucket(name: str, *, account_id: str, access_key_id: str, secret_access_key: str) -> Bucket:
    """A bucket on Cloudflare R2, which ignores ``Expect: 100-continue``: each write would wait for it for a second."""
    return Bucket(
        name=name,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        region="auto",
        endpoint_url=f"https://{account_id}.r2.cloudflarestorage.com",
        expect_continue=False,
    )


@dataclass(frozen=True, slots=True)
class S3Timeouts:
    """Seconds to wait for a connection and for a response, and the number of tries.

    Two tries, because the server may have closed an idle connection. An attempt that stores an image retries by itself,
    and checks its lease in between.
    """

    connect: float = 5.0
    read: float = 10.0
    tries: int = 2

    @property
    def longest(self) -> float:
        """Longest duration of an operation, in seconds: the server hangs in each try, and once more while it sends an
        object. Between tries boto3 waits up to 1, 2, 4 … seconds.
        """
        return self.tries * (self.connect + self.read) + 2 ** (self.tries - 1) - 1 + self.read


def open_client(bucket: Bucket, *, connections: int, timeouts: S3Timeouts) -> S3Client:
    """A client that shares ``connections`` between threads; it connects on the first request."""
    with _session_lock:
        client = _session().client(
            "s3",
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret_access_key,
            endpoint_url=bucket.endpoint_url,
            config=client_config(bucket, connections=connections, timeouts=timeouts),
        )
    if not bucket.expect_continue:
        client.meta.events.unregister("before-call.s3", import_module("botocore.handlers").add_expect_header)
    return client


def client_config(bucket: Bucket, *, connections: int, timeouts: S3Timeouts) -> Any:
    """botocore's configuration: its defaults fit neither R2 nor many threads."""
    return import_module("botocore.config").Config(
        region_name=bucket.region,
        # Without it presigned links have signature version 2, which newer regions refuse.
        signature_version="s3v4",
        # A self-hosted server rarely has a host name for each bucket.
        s3={"addressing_style": "virtual" if bucket.endpoint_url is None else "path"},
        # R2 refuses the checksums that boto3 adds by default; Content-MD5 protects what is written.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        retries={"mode": "standard", "total_max_attempts": timeouts.tries},
        max_pool_connections=connections,
        # A variable or file of the AWS tools must not send images to another server.
        ignore_configured_endpoint_urls=True,
    )


_session_lock = threading.Lock()
"""A client is thread-safe; the session that makes it is not."""


@cache
def _session() -> Any:
    """It holds no credentials, only the description of S3, which takes a third of a second to read."""
    return import_module("boto3.session").Session()
