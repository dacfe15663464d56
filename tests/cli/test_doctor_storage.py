"""`doctor` and the storage: a real S3 server, healthy and with what goes wrong in life, and the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket
from tests.cli.conftest import Command
from tests.simulators.s3.proxy import Answer, Forward, Proxy, Request, proxy_before, xml_error
from tests.simulators.s3.server import READER, s3_server
from tests.support.findings import Found, by_check

STEPS = ("put", "get", "link", "list", "delete", "clock")
KEYS = "S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, S3_ENDPOINT_URL"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    assert bucket.endpoint_url is not None
    with proxy_before(bucket.endpoint_url) as proxy:
        yield proxy


Use = Callable[[Bucket], None]


@pytest.fixture
def use(settings: None, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Use:
    """Makes the environment name a bucket."""

    def name(chosen: Bucket) -> None:
        monkeypatch.setenv("S3_BUCKET", chosen.name)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", chosen.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", chosen.secret_access_key)
        monkeypatch.setenv("S3_ENDPOINT_URL", chosen.endpoint_url or "")

    name(bucket)
    return name


def look(cli: Command, *options: str) -> tuple[int, dict[str, Found]]:
    done = cli("doctor", "--json", "--only", "storage", *options)
    found = by_check(done.json)
    assert set(found) == {f"storage.{step}" for step in STEPS}
    return done.status, {name.removeprefix("storage."): finding for name, finding in found.items()}


def test_a_bucket_that_works_is_left_as_it_was(cli: Command, use: Use, bucket: Bucket):
    status, found = look(cli)
    assert (status, {finding.status for finding in found.values()}) == (0, {"ok"})
    assert found["link"].detail == "fetched as a browser does, signed"
    assert S3Storage(bucket).keys("doctor/", start_after="", limit=10) == []


def test_a_key_id_that_there_is_not(cli: Command, use: Use, bucket: Bucket):
    use(replace(bucket, access_key_id="a-key-that-nobody-has"))
    status, found = look(cli)
    assert (status, found["put"].status) == (1, "fault")
    assert found["put"].detail.endswith("InvalidAccessKeyId (HTTP 403)")
    assert found["put"].remedy == f"Check the access key id. Settings: {KEYS}"
    assert (found["get"].status, found["link"].status, found["delete"].status) == ("skipped", "skipped", "skipped")
    assert found["clock"].status == "ok", "also a refusal says what time it is"


def test_a_wrong_secret(cli: Command, use: Use, bucket: Bucket):
    use(replace(bucket, secret_access_key="canary-secret"))
    _, found = look(cli)
    assert "SignatureDoesNotMatch" in found["put"].detail
    assert "secret access key" in found["list"].remedy
    assert "canary" not in str(found)


def test_a_bucket_that_there_is_not(cli: Command, use: Use, bucket: Bucket):
    use(replace(bucket, name="no-such-bucket"))
    status, found = look(cli)
    assert (status, found["put"].status) == (1, "fault")
    assert "NoSuchBucket" in found["put"].detail
    assert "check its name, or create it" in found["put"].remedy


def test_a_key_that_may_only_read(cli: Command, use: Use, bucket: Bucket):
    use(replace(bucket, access_key_id=READER[0], secret_access_key=READER[1]))
    status, found = look(cli)
    assert (status, found["put"].status, found["list"].status) == (1, "fault", "ok")
    assert "AccessDenied" in found["put"].detail
    assert "list the bucket and to get, put and delete" in found["put"].remedy


def test_a_server_that_is_not_there(cli: Command, use: Use, bucket: Bucket):
    use(replace(bucket, endpoint_url="http://127.0.0.1:1"))
    status, found = look(cli)
    assert (status, found["put"].status, found["delete"].status) == (1, "fault", "fault")
    assert "no connection" in found["put"].detail
    assert found["clock"].detail == "the storage does not say what time it is (no answer (ConnectError))"


def test_links_that_lead_nowhere(cli: Command, use: Use, bucket: Bucket, proxy: Proxy):
    use(replace(bucket, endpoint_url=proxy.address))
    proxy.fail(*[xml_error(403, "SignatureDoesNotMatch")] * 9, match=_is_signed_in_the_address)
    status, found = look(cli)
    assert (status, found["get"].status, found["link"].status) == (1, "ok", "fault")
    assert found["link"].detail == "the link does not lead to the object: HTTP 403"
    assert "X-Amz-" not in str(found)


def test_a_link_to_something_else(cli: Command, use: Use, bucket: Bucket, proxy: Proxy):
    use(replace(bucket, endpoint_url=proxy.address))
    proxy.fail(lambda request, forward: Answer(200, {}, b"parked"), match=_is_signed_in_the_address)
    _, found = look(cli)
    assert (found["link"].status, found["link"].detail[-8:]) == ("fault", "HTTP 200")


def test_an_object_that_cannot_be_deleted(cli: Command, use: Use, bucket: Bucket, proxy: Proxy):
    use(replace(bucket, endpoint_url=proxy.address))
    proxy.fail(*[xml_error(403, "AccessDenied")] * 2, match=lambda request: request.method == "DELETE")
    status, found = look(cli)
    assert (status, found["get"].status, found["delete"].status) == (1, "ok", "fault")
    for stored in S3Storage(bucket).keys("doctor/", start_after="", limit=10):
        S3Storage(bucket).delete(stored.key)


@pytest.mark.parametrize(
    ("off", "status", "said"),
    [
        (30, "ok", "agree within a minute"),
        (300, "warning", "behind the storage"),
        (-300, "warning", "ahead of the storage"),
        (3600, "fault", "what it signs is refused"),
    ],
)
def test_a_clock_that_is_off(cli: Command, use: Use, bucket: Bucket, proxy: Proxy, off: int, status: str, said: str):
    def dated(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "date"}
        return answer._replace(headers=headers | {"Date": formatdate(time.time() + off, usegmt=True)})

    use(replace(bucket, endpoint_url=proxy.address))
    proxy.fail(dated, dated, match=_is_signed_in_the_address)
    _, found = look(cli)
    assert found["clock"].status == status
    assert said in found["clock"].detail


def test_a_server_that_hangs_is_not_waited_for(cli: Command, use: Use, bucket: Bucket, proxy: Proxy):
    use(replace(bucket, endpoint_url=proxy.address))
    proxy.fail(proxy.hang, match=lambda request: request.method == "PUT")
    status, found = look(cli, "--timeout", "3")
    assert (status, found["put"]) == (1, Found("fault", "it did not end within 3 s", found["put"].remedy))
    assert found["get"] == Found("skipped", "needs storage.put", "")


def test_a_disk_that_works_is_left_as_it_was(
    cli: Command, settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    kept = tmp_path / "images"
    (kept / "doctor").mkdir(parents=True)
    (kept / "doctor" / "who.webp").write_bytes(b"an image of a doctor")
    monkeypatch.setenv("STORAGE_DIR", str(kept))
    status, found = look(cli)
    assert (status, found["delete"].status, found["link"].status) == (0, "ok", "skipped")
    assert [path.name for path in kept.rglob("*")] == ["doctor", "who.webp"]


def test_a_disk_that_cannot_be_written(cli: Command, settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("STORAGE_DIR", os.fspath(tmp_path / "file" / "images"))
    status, found = look(cli)
    assert (status, found["put"].status) == (1, "fault")
    assert "Settings: STORAGE_DIR" in found["put"].remedy


def _is_signed_in_the_address(request: Request) -> bool:
    return "X-Amz-Signature" in request.path
