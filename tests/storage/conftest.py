"""A real S3 server, and a proxy in front of it that injects faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from generation_worker.ports import Storage
from generation_worker.storage.disk import DiskStorage
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket, S3Timeouts
from tests.simulators.s3.proxy import Proxy, proxy_before
from tests.simulators.s3.server import s3_server
from tests.storage.contents import everything
from tests.support.database import Connection
from tests.support.protocol import Worker

SHORT_TIMEOUTS = S3Timeouts(connect=1.0, read=1.0, tries=1)
"""One try, and a second for the answer: what happens to it is seen, not what is done about it."""


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def s3(bucket: Bucket) -> S3Storage:
    return S3Storage(bucket, connections=68)


@pytest.fixture
def disk(tmp_path: Path) -> DiskStorage:
    return DiskStorage(tmp_path)


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty one."""
    storage: Storage = request.getfixturevalue(request.param)
    for key in everything(storage):
        storage.delete(key)
    return storage


@pytest.fixture
def worker(connection: Connection) -> Worker:
    return Worker(connection)


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    assert bucket.endpoint_url is not None
    with proxy_before(bucket.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(bucket: Bucket, proxy: Proxy) -> Bucket:
    return replace(bucket, endpoint_url=proxy.address)


@pytest.fixture
def hasty(behind_proxy: Bucket) -> S3Storage:
    return S3Storage(behind_proxy, timeouts=SHORT_TIMEOUTS)
