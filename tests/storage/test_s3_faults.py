"""An S3 server that fails, responds late or not at all, or whose responses are lost."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from hashlib import md5

import pytest

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket, S3Timeouts
from tests.simulators.s3.proxy import Answer, Fault, Proxy, answer_lost, changed, cut_at, says, xml_error

KEY = "images/0190a000-0000-7000-8000-000000000002.webp"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (xml_error(500, "InternalError"), r"InternalError \(HTTP 500\)"),
        (xml_error(503, "SlowDown"), r"SlowDown \(HTTP 503\)"),
        (xml_error(429, "TooManyRequests"), r"TooManyRequests \(HTTP 429\)"),
        (xml_error(403, "AccessDenied"), r"AccessDenied \(HTTP 403\): the key must be allowed to list the bucket"),
        (xml_error(403, "SomethingNew"), r"SomethingNew \(HTTP 403\): the key must be allowed"),
        (xml_error(401, "Unauthorized"), r"Unauthorized \(HTTP 401\): check the access key id and the secret"),
        (xml_error(301, "PermanentRedirect"), r"PermanentRedirect \(HTTP 301\): the bucket is in another region"),
        (xml_error(200, "InternalError"), r"InternalError"),
        (says(Answer(502, {}, b"<html>Bad gateway")), "HTTP 502"),
        (says(Answer(200, {}, b"")), "the response does not confirm that it was stored"),
        (answer_lost, "the connection ended before the response"),
    ],
)
def test_a_write_that_is_not_confirmed_is_told_with_its_cause(
    hasty: S3Storage, proxy: Proxy, fault: Fault, cause: str
) -> None:
    proxy.fail(fault)
    with pytest.raises(StorageUnavailable, match=f"^s3: cannot write {KEY}: {cause}") as failure:
        hasty.put(KEY, b"x", "image/webp")
    for secret in ("Signature", "Credential", "127.0.0.1", "Error>"):
        assert secret not in failure.value.message
    hasty.put(KEY, b"x", "image/webp")


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_server_that_says_nothing_is_asked_as_often_as_is_reckoned_with(
    behind_proxy: Bucket, proxy: Proxy, tries: int
) -> None:
    s3 = S3Storage(behind_proxy, timeouts=S3Timeouts(connect=0.2, read=0.2, tries=tries))
    operations = (
        lambda: s3.put(KEY, b"x", "image/webp"),
        lambda: s3.get(KEY),
        lambda: s3.delete(KEY),
        lambda: s3.keys("images/", start_after="", limit=10),
    )
    proxy.fail(*[proxy.hang] * 100)
    for operation in operations:
        before = len(proxy.requests)
        with pytest.raises(StorageUnavailable, match="no response in time"):
            operation()
        assert len(proxy.requests) - before == tries


def test_a_server_that_falls_silent_in_the_middle_of_an_object_is_not_asked_again(
    behind_proxy: Bucket, proxy: Proxy, s3: S3Storage
) -> None:
    s3.put(KEY, b"0123456789", "image/webp")
    proxy.fail(proxy.silent_after(5))
    with pytest.raises(StorageUnavailable, match="no response in time"):
        S3Storage(behind_proxy, timeouts=S3Timeouts(connect=0.2, read=0.2, tries=3)).get(KEY)
    assert len(proxy.requests) == 1


def test_the_longest_that_an_operation_takes_counts_every_wait() -> None:
    assert S3Timeouts(connect=5, read=10, tries=1).longest == 5 + 10 + 10
    assert S3Timeouts(connect=5, read=10, tries=2).longest == 2 * (5 + 10) + 1 + 10
    assert S3Timeouts(connect=5, read=10, tries=3).longest == 3 * (5 + 10) + 1 + 2 + 10


def test_a_stored_object_whose_answer_was_lost_is_stored_again_by_itself(
    behind_proxy: Bucket, proxy: Proxy, s3: S3Storage
) -> None:
    proxy.fail(answer_lost)
    S3Storage(behind_proxy).put(KEY, b"answered late", "image/webp")
    assert [request.path for request in proxy.of("PUT")] == [f"/images/{KEY}"] * 2
    assert s3.get(KEY) == b"answered late"
    assert [stored.key for stored in s3.keys(KEY, start_after="", limit=10)] == [KEY]


def test_bytes_that_were_changed_on_the_way_are_not_stored(hasty: S3Storage, proxy: Proxy, s3: S3Storage) -> None:
    """Content-MD5 tells the server; the signature covers the body only where there is no TLS."""
    s3.put(KEY, b"as it was", "image/webp")
    proxy.fail(changed)
    with pytest.raises(StorageUnavailable, match=r"BadDigest|XAmzContentSHA256Mismatch"):
        hasty.put(KEY, b"as it is", "image/webp")
    sent = {name.lower(): value for name, value in proxy.of("PUT")[0].headers.items()}
    assert sent["content-md5"] == b64encode(md5(b"as it is", usedforsecurity=False).digest()).decode()
    assert [name for name in sent if "checksum" in name] == []
    assert s3.get(KEY) == b"as it was"


@pytest.mark.parametrize(
    ("length", "cause"), [(0, "the connection ended in the middle of the response"), (5, "only 5 of 10 bytes arrived")]
)
def test_half_an_object_is_not_taken_for_one(hasty: S3Storage, proxy: Proxy, length: int, cause: str) -> None:
    hasty.put(KEY, b"0123456789", "image/webp")
    proxy.fail(cut_at(length))
    with pytest.raises(StorageUnavailable, match=f"cannot read .*: {cause}"):
        hasty.get(KEY)
    assert hasty.get(KEY) == b"0123456789"


@pytest.mark.parametrize("fault", [xml_error(500, "InternalError"), xml_error(403, "AccessDenied"), answer_lost])
def test_an_error_is_not_taken_for_absence(hasty: S3Storage, proxy: Proxy, fault: Fault) -> None:
    for request in (
        lambda: hasty.get(KEY),
        lambda: hasty.delete(KEY),
        lambda: hasty.keys("", start_after="", limit=9),
    ):
        proxy.fail(fault)
        with pytest.raises(StorageUnavailable):
            request()


def test_absence_that_a_server_tells_in_its_own_way_is_no_error(hasty: S3Storage, proxy: Proxy) -> None:
    for gone in (xml_error(404, "NoSuchKey"), says(Answer(404, {}, b""))):
        proxy.fail(gone, gone)
        assert hasty.get(KEY) is None
        hasty.delete(KEY)


def test_a_list_that_never_ends_ends(hasty: S3Storage, proxy: Proxy) -> None:
    endless = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    proxy.fail(says(Answer(200, {"Content-Type": "application/xml"}, endless)))
    assert hasty.keys("images/", start_after="", limit=5) == []


def test_amazons_way_of_asking_first_is_left_out_where_it_is_not_answered(behind_proxy: Bucket, proxy: Proxy) -> None:
    S3Storage(behind_proxy).put(KEY, b"x", "image/webp")
    S3Storage(replace(behind_proxy, expect_continue=False)).put(KEY, b"x", "image/webp")
    assert ["Expect" in request.headers for request in proxy.of("PUT")] == [True, False]
