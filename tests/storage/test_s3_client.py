"""boto3's configuration, where a test server cannot show it; and presigned links, which need no request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from generation_worker.config import load_settings
from generation_worker.storage.disk import DiskStorage
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket, S3Timeouts, client_config, open_client, r2_bucket
from generation_worker.wiring import build_storage

KEY = "images/a b+ü.webp"
SECRET = "the-secret-access-key"
AMAZON = Bucket(name="pictures", access_key_id="the-key-id", secret_access_key=SECRET, region="eu-central-1")
R2 = r2_bucket("pictures", account_id="account", access_key_id="the-key-id", secret_access_key=SECRET)


def opened(bucket: Bucket) -> Any:
    return open_client(bucket, connections=9, timeouts=S3Timeouts())


@pytest.mark.parametrize("bucket", [AMAZON, R2], ids=["amazon", "r2"])
def test_the_client_is_set_up_as_r2_and_many_threads_need_it(bucket: Bucket) -> None:
    config: Any = opened(bucket).meta.config
    assert config.signature_version == "s3v4"
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (5, 10, 9)


def test_each_server_is_addressed_in_its_way() -> None:
    amazon, r2 = opened(AMAZON).meta, opened(R2).meta
    assert (amazon.endpoint_url, amazon.region_name) == ("https://s3.eu-central-1.amazonaws.com", "eu-central-1")
    assert (r2.endpoint_url, r2.region_name) == ("https://account.r2.cloudflarestorage.com", "auto")
    assert (amazon.config.s3["addressing_style"], r2.config.s3["addressing_style"]) == ("virtual", "path")


@pytest.mark.parametrize(
    ("bucket", "place"),
    [
        (AMAZON, "https://pictures.s3.eu-central-1.amazonaws.com/images/a%20b%2B%C3%BC.webp"),
        (R2, "https://account.r2.cloudflarestorage.com/pictures/images/a%20b%2B%C3%BC.webp"),
    ],
    ids=["amazon", "r2"],
)
def test_a_link_is_signed_for_one_object_of_one_region(bucket: Bucket, place: str) -> None:
    link = S3Storage(bucket).link(KEY, seconds=90.5)
    assert link is not None
    signed = parse_qs(urlsplit(link).query)
    assert link.partition("?")[0] == place
    assert signed["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert signed["X-Amz-Expires"] == ["91"]
    assert signed["X-Amz-Credential"][0].endswith(f"/{bucket.region}/s3/aws4_request")
    assert SECRET not in link


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1, float("inf"), float("nan")])
def test_a_link_that_no_server_would_accept_is_not_made(seconds: float) -> None:
    with pytest.raises(ValueError, match="a link can be valid for at most 604800 seconds"):
        S3Storage(AMAZON).link(KEY, seconds=seconds)


def test_a_week_is_the_longest() -> None:
    assert "X-Amz-Expires=604800" in str(S3Storage(AMAZON).link(KEY, seconds=7 * 86_400))


def test_a_public_bucket_has_links_without_a_signature() -> None:
    storage = S3Storage(R2, public_url="https://images.example.com")
    assert storage.link(KEY, seconds=60) == "https://images.example.com/images/a%20b%2B%C3%BC.webp"


def test_the_settings_of_aws_tools_send_no_image_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example.com")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example.com")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    client = opened(AMAZON)
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    assert client.meta.config.request_checksum_calculation == "when_required"
    assert client.meta.config.retries["total_max_attempts"] == 2


def test_no_secret_shows() -> None:
    storage = S3Storage(R2)
    config: object = client_config(R2, connections=1, timeouts=S3Timeouts())
    assert storage.link(KEY, seconds=1)
    for shown in (repr(storage), str(storage), repr(R2), repr(vars(storage)), repr(vars(config))):
        assert SECRET not in shown
        assert "the-key-id" not in shown


S3_SETTINGS = {"S3_BUCKET": "pictures", "AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": SECRET}
R2_SETTINGS = {
    "R2_BUCKET": "pictures",
    "R2_ACCOUNT_ID": "account",
    "R2_ACCESS_KEY_ID": "the-key-id",
    "R2_SECRET_ACCESS_KEY": SECRET,
}


def test_the_settings_choose_the_storage(tmp_path: Path) -> None:
    disk = build_storage(load_settings({"STORAGE_DIR": str(tmp_path)}))
    assert isinstance(disk, DiskStorage)
    s3 = build_storage(load_settings({**S3_SETTINGS, "AWS_REGION": "eu-central-1"}))
    assert (s3.name, str(s3.link(KEY, seconds=1)).split("/images/")[0]) == (
        "s3",
        "https://pictures.s3.eu-central-1.amazonaws.com",
    )
    own = build_storage(load_settings({**S3_SETTINGS, "S3_ENDPOINT_URL": "http://minio:9000"}))
    assert str(own.link(KEY, seconds=1)).startswith("http://minio:9000/pictures/images/")
    r2 = build_storage(load_settings(R2_SETTINGS))
    assert (r2.name, str(r2.link(KEY, seconds=1)).split("/images/")[0]) == (
        "r2",
        "https://account.r2.cloudflarestorage.com/pictures",
    )
    public = build_storage(load_settings({**R2_SETTINGS, "R2_PUBLIC_URL": "https://images.example.com/"}))
    assert public.link("images/a.webp", seconds=1) == "https://images.example.com/images/a.webp"


def test_there_are_as_many_connections_as_there_may_be_threads_and_a_few_more() -> None:
    storage = build_storage(load_settings({**S3_SETTINGS, "WORKER_CONCURRENCY": "50"}))
    assert isinstance(storage, S3Storage)
    assert vars(storage)["_connections"] == 1004  # as many as the fleet may set, while it runs


def test_boto3_is_loaded_only_when_it_is_used() -> None:
    """Half a second and 25 MiB that commands and workers with a disk do without."""
    ask = "import sys, generation_worker.wiring; print([n for n in ('boto3', 'botocore') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.stdout.strip() == "[]"
