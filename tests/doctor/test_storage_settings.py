"""Settings of a bucket that lead somewhere else than one thinks."""

from __future__ import annotations

import pytest

from generation_worker.config import load_settings
from generation_worker.doctor.storage import examine_settings

S3 = {"S3_BUCKET": "images", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
R2 = {"R2_BUCKET": "images", "R2_ACCOUNT_ID": "acc", "R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, []),
        (S3, []),
        (S3 | {"S3_ENDPOINT_URL": "https://s3.example.com"}, []),
        (S3 | {"S3_ENDPOINT_URL": "https://s3.example.com/images"}, [("fault", "Remove /images")]),
        (S3 | {"S3_ENDPOINT_URL": "https://images.s3.example.com"}, [("fault", "Remove images.")]),
        (S3 | {"S3_ENDPOINT_URL": "https://acc.r2.cloudflarestorage.com"}, [("warning", "Set R2_BUCKET")]),
        (S3 | {"S3_ENDPOINT_URL": "https://acc.eu.r2.cloudflarestorage.com"}, []),
        (R2, []),
        (R2 | {"R2_PUBLIC_URL": "https://images.example.com"}, []),
        (R2 | {"R2_PUBLIC_URL": "https://pub-1.r2.dev"}, [("warning", "Connect a domain")]),
    ],
)
def test_what_is_said(environ: dict[str, str], found: list[tuple[str, str]]) -> None:
    verdicts = examine_settings(load_settings(environ))
    assert [verdict.status for verdict in verdicts] == [status for status, _ in found]
    assert all(remedy in (verdict.remedy or "") for verdict, (_, remedy) in zip(verdicts, found, strict=True))
