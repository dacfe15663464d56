"""Settings of a bucket that are right in themselves and lead somewhere else than one thinks."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from generation_worker.config import Settings
from generation_worker.domain.finding import Verdict, fault, warning

R2 = ".r2.cloudflarestorage.com"


def examine_settings(settings: Settings) -> list[Verdict]:
    """Nothing, if there is nothing to say."""
    if settings.storage == "s3" and settings.s3_endpoint_url is not None:
        return list(_endpoint(settings.s3_endpoint_url, settings.s3_bucket or ""))
    if settings.storage == "r2" and (urlsplit(settings.r2_public_url or "").hostname or "").endswith(".r2.dev"):
        said = "R2_PUBLIC_URL is a development address of Cloudflare's, which limits how often it is asked"
        return [warning(said, "Connect a domain of your own to the bucket and name that")]
    return []


def _endpoint(url: str, bucket: str) -> Iterator[Verdict]:
    address = urlsplit(url)
    host = address.hostname or ""
    if address.path.strip("/") == bucket:
        yield fault("S3_ENDPOINT_URL names the bucket too", f"Remove /{bucket} from it: S3_BUCKET says it")
    if host.startswith(f"{bucket}."):
        yield fault("S3_ENDPOINT_URL names the bucket too", f"Remove {bucket}. from it: S3_BUCKET says it")
    if host.endswith(R2) and host.count(".") == R2.count("."):
        yield warning(
            "S3_ENDPOINT_URL is Cloudflare's: each write waits a second for an answer that R2 does not give",
            "Set R2_BUCKET, R2_ACCOUNT_ID, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY instead",
        )
