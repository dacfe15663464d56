"""S3Storage on a real S3 server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
from hypothesis import HealthCheck, given, settings, strategies as st

from generation_worker.domain.errors import InputRejected, StorageUnavailable
from generation_worker.storage.disk import is_valid_key
from generation_worker.storage.s3 import PROBE, S3Storage
from generation_worker.storage.s3_client import Bucket
from tests.support.waiting import wait_until

KEY = "images/0190a000-0000-7000-8000-000000000001.webp"


def test_what_was_put_is_there_until_it_is_deleted(s3: S3Storage) -> None:
    assert s3.get("jobs/1") is None
    s3.put("jobs/1", b"one", "image/webp")
    s3.put("jobs/1", b"two", "image/webp")
    assert s3.get("jobs/1") == b"two"
    s3.delete("jobs/1")
    s3.delete("jobs/1")
    s3.delete("never/was/there")
    assert s3.get("jobs/1") is None


def test_a_link_brings_the_object_as_a_browser_wants_it(s3: S3Storage) -> None:
    s3.put(KEY, b"picture", "image/webp")
    link = s3.link(KEY, seconds=60)
    assert link is not None
    answer = requests.get(link, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["Content-Disposition"] == "inline"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"


def test_everybody_may_keep_what_everybody_may_read(bucket: Bucket, s3: S3Storage) -> None:
    S3Storage(bucket, public_url="https://images.example.com").put(KEY, b"picture", "image/webp")
    link = s3.link(KEY, seconds=60)
    assert link is not None
    assert requests.get(link, timeout=10).headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_link_ends_and_without_it_nobody_sees_the_object(s3: S3Storage) -> None:
    s3.put(KEY, b"picture", "image/webp")
    link = s3.link(KEY, seconds=1)
    assert link is not None
    assert requests.get(link, timeout=10).status_code == 200
    wait_until(lambda: requests.get(link, timeout=10).status_code == 403, "the link ends")
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403
    assert requests.get(link.replace(".webp?", ".png?"), timeout=10).status_code == 403


def test_many_threads_share_one_client(s3: S3Storage, caplog: pytest.LogCaptureFixture) -> None:
    threads = 64
    together = threading.Barrier(threads)

    def store(number: int) -> bool:
        data = bytes([number]) * 1_500_000
        together.wait()
        s3.put(f"many/{number}", data, "image/png")
        return s3.get(f"many/{number}") == data

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(store, range(threads)))
    assert [record.message for record in caplog.records if "pool is full" in record.message] == []


def test_who_reads_while_it_is_replaced_sees_one_or_the_other(s3: S3Storage) -> None:
    versions = [bytes([n]) * 300_000 for n in range(6)]
    s3.put("torn", versions[0], "image/webp")
    with ThreadPoolExecutor(3) as threads:
        writes = [threads.submit(s3.put, "torn", version, "image/webp") for version in versions]
        while not all(write.done() for write in writes):
            assert s3.get("torn") in versions
        for write in writes:
            write.result()


def test_an_object_that_no_image_can_be_is_not_read(bucket: Bucket) -> None:
    s3 = S3Storage(bucket, most_bytes=10)
    s3.put("size", b"0123456789", "image/png")
    assert s3.get("size") == b"0123456789"
    s3.put("size", b"0123456789+", "image/png")
    with pytest.raises(InputRejected, match="'size' is larger than"):
        s3.get("size")


def test_keys_come_in_order_and_in_pages(s3: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation_worker.storage.s3.PAGE_SIZE", 2)
    names = [f"list/{name}" for name in ("B", "a", "a.b", "b/c", "ä", "z z", "z+z")]
    for name in [*names, "list", "lister"]:
        s3.put(name, b"", "text/plain")
    found = s3.keys("list/", start_after="", limit=100)
    assert [stored.key for stored in found] == sorted(names)
    assert all(timedelta(0) < datetime.now(UTC) - stored.modified_at < timedelta(minutes=1) for stored in found)
    assert [stored.key for stored in s3.keys("list/", start_after="list/a", limit=3)] == sorted(names)[2:5]
    assert s3.keys("list/", start_after="list/ä", limit=3) == []
    assert s3.keys("nothing/", start_after="", limit=3) == []


@given(key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(is_valid_key))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_key_that_may_name_an_object_does(s3: S3Storage, key: str) -> None:
    key = f"any/{key}"
    s3.put(key, key.encode(), "image/webp")
    assert s3.get(key) == key.encode()
    link = s3.link(key, seconds=60)
    assert link is not None
    assert requests.get(link, timeout=10).content == key.encode()
    s3.delete(key)
    assert s3.get(key) is None


@pytest.mark.parametrize("key", ["", "..", "a/../b", "../other-bucket/x", "/a", "a//b", "a\nb", "a" * 256, "a/" * 600])
def test_a_hostile_key_reaches_no_server(bucket: Bucket, key: str) -> None:
    s3 = S3Storage(replace(bucket, endpoint_url="http://127.0.0.1:1"))
    assert s3.get(key) is None
    for refused in (lambda: s3.put(key, b"", "text/plain"), lambda: s3.delete(key), lambda: s3.link(key, seconds=1)):
        with pytest.raises(ValueError, match="storage key"):
            refused()


def test_warm_up_leaves_nothing(s3: S3Storage) -> None:
    s3.warm_up()
    assert s3.keys(PROBE, start_after="", limit=10) == []


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"access_key_id": "nobody"}, r"InvalidAccessKeyId \(HTTP 403\): check the access key id"),
        ({"secret_access_key": "guessed-secret"}, r"SignatureDoesNotMatch \(HTTP 403\): check the secret access key"),
        ({"name": "missing"}, r"NoSuchBucket \(HTTP 404\): the bucket does not exist: check its name, or create it"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "no connection; check the endpoint and that the server is running"),
    ],
)
def test_what_the_operator_must_put_right_is_said_and_no_secret(
    bucket: Bucket, wrong: dict[str, str], cause: str
) -> None:
    s3 = S3Storage(replace(bucket, **wrong))
    for request in (
        s3.warm_up,
        lambda: s3.put(KEY, b"x", "image/webp"),
        lambda: s3.get(KEY),
        lambda: s3.delete(KEY),
        lambda: s3.keys("images/", start_after="", limit=1),
    ):
        with pytest.raises(StorageUnavailable, match=f"^s3: cannot .*: {cause}") as failure:
            request()
        assert failure.value.retry
        assert bucket.secret_access_key not in str(failure.value) + repr(s3)
        assert "guessed" not in str(failure.value) + repr(s3)
