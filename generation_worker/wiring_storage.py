"""The storage that the settings name."""

from __future__ import annotations

from pydantic import SecretStr

from generation_worker.config import Settings
from generation_worker.domain.control import HIGHEST_CONCURRENCY
from generation_worker.ports import Storage
from generation_worker.storage.disk import DiskStorage
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket, Patience, r2_bucket


def build_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    connections = HIGHEST_CONCURRENCY + 4  # as many as threads there may be, and a few for links and maintenance
    patience = Patience(answer=settings.storage_timeout)
    match settings.storage:
        case "s3":
            return S3Storage(_s3_bucket(settings), connections=connections, patience=patience)
        case "r2":
            public = settings.r2_public_url
            return S3Storage(
                _r2_bucket(settings), name="r2", public_url=public, connections=connections, patience=patience
            )
        case "disk":
            return DiskStorage(settings.storage_dir)


def _s3_bucket(settings: Settings) -> Bucket:
    return Bucket(
        name=settings.s3_bucket or "",
        access_key_id=_plain(settings.aws_access_key_id),
        secret_access_key=_plain(settings.aws_secret_access_key),
        region=settings.aws_region,
        endpoint_url=settings.s3_endpoint_url,
    )


def _r2_bucket(settings: Settings) -> Bucket:
    return r2_bucket(
        settings.r2_bucket or "",
        account_id=settings.r2_account_id or "",
        access_key_id=_plain(settings.r2_access_key_id),
        secret_access_key=_plain(settings.r2_secret_access_key),
    )


def _plain(secret: SecretStr | None) -> str:
    """``load_settings`` has made sure that a bucket's settings are all there."""
    return secret.get_secret_value() if secret else ""
