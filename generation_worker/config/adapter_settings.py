"""The settings of what the worker uses beside providers: storage, images, logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from generation_worker.config.kinds import (
    AccountId,
    Bucket,
    Duration,
    LogFormat,
    LogLevel,
    Region,
    Secret,
    WebAddress,
)
from generation_worker.config.provider_settings import ProviderSettings
from generation_worker.config.setting import between, group

s3 = group("Storage: S3")
r2 = group("Storage: Cloudflare R2")
buckets = group("Storage: S3 and R2")
disk = group("Storage: local disk")
fetch = group("Inputs by URL")
webhooks = group("Webhooks to the app")
images = group("Images")
logs = group("Logs")
traces = group("Traces")

OTLP_HTTP = "http/protobuf"
"""The one of OpenTelemetry's protocols that is spoken."""


class AdapterSettings(ProviderSettings):
    """What the adapters need to know."""

    s3_bucket: Annotated[
        Bucket | None, s3("S3_BUCKET", example="my-images", help="Bucket for the images; chooses S3.")
    ] = None
    aws_access_key_id: Annotated[Secret | None, s3("AWS_ACCESS_KEY_ID", secret=True, help="Key of the bucket.")] = None
    aws_secret_access_key: Annotated[
        Secret | None, s3("AWS_SECRET_ACCESS_KEY", secret=True, help="Secret of that key.")
    ] = None
    aws_region: Annotated[Region, s3("AWS_REGION", help="Region of the bucket.")] = "us-east-1"
    s3_endpoint_url: Annotated[
        WebAddress | None,
        s3(
            "S3_ENDPOINT_URL",
            default="Amazon's",
            example="https://s3.example.com",
            help="Another server with S3's API.",
        ),
    ] = None

    r2_bucket: Annotated[
        Bucket | None, r2("R2_BUCKET", example="my-images", help="Bucket for the images; chooses R2.")
    ] = None
    r2_account_id: Annotated[AccountId | None, r2("R2_ACCOUNT_ID", help="Cloudflare account of the bucket.")] = None
    r2_access_key_id: Annotated[Secret | None, r2("R2_ACCESS_KEY_ID", secret=True, help="Key of the bucket.")] = None
    r2_secret_access_key: Annotated[
        Secret | None, r2("R2_SECRET_ACCESS_KEY", secret=True, help="Secret of that key.")
    ] = None
    r2_public_url: Annotated[
        WebAddress | None,
        r2(
            "R2_PUBLIC_URL",
            example="https://images.example.com",
            help="Public address of the bucket; links are presigned without it.",
        ),
    ] = None

    storage_timeout: Annotated[
        Duration,
        between(1, 600),
        buckets("STORAGE_TIMEOUT", help="Longest wait for an answer; a request that got none is sent once more."),
    ] = 10.0

    storage_dir: Annotated[
        Path, disk("STORAGE_DIR", help="Directory for the images, when neither S3 nor R2 is set.")
    ] = Path("storage")

    fetch_timeout: Annotated[
        Duration, between(1, 600), fetch("FETCH_TIMEOUT", help="Longest time for one input, redirects included.")
    ] = 30.0
    fetch_max_mb: Annotated[
        int, between(1, 50), fetch("FETCH_MAX_MB", help="Larger inputs are refused, in MiB; of images 50 is the most.")
    ] = 20
    fetch_cache_mb: Annotated[
        int,
        between(0, 1_000_000),
        fetch(
            "FETCH_CACHE_MB", help="Disk, in MiB, for inputs that several jobs may want within an hour; 0 keeps none."
        ),
    ] = 256
    fetch_cache_dir: Annotated[
        Path | None,
        fetch(
            "FETCH_CACHE_DIR", default="the system's, such as `/tmp`", example="/var/cache", help="Where they are kept."
        ),
    ] = None
    fetch_allow_private: Annotated[
        bool,
        fetch("FETCH_ALLOW_PRIVATE", help="For development: also ask private hosts, by http and on any port."),
    ] = False

    webhook_timeout: Annotated[
        Duration, between(1, 60), webhooks("WEBHOOK_TIMEOUT", help="Longest wait for an endpoint's answer.")
    ] = 15.0
    webhook_allow_private: Annotated[
        bool,
        webhooks("WEBHOOK_ALLOW_PRIVATE", help="Also tell endpoints in a private network, by http and on any port."),
    ] = False

    image_children: Annotated[
        int,
        between(1, 64),
        images(
            "IMAGE_CHILDREN", default="number of CPUs, at most 4", example="4", help="Processes that convert images."
        ),
    ] = Field(default_factory=lambda: min(os.cpu_count() or 1, 4))
    image_max_pixels: Annotated[
        int, between(1, 1_000_000_000), images("IMAGE_MAX_PIXELS", help="Larger images are refused.")
    ] = 50_000_000
    image_memory_mb: Annotated[
        int, between(64, 65_536), images("IMAGE_MEMORY_MB", help="Memory of each such process, in MiB.")
    ] = 1024
    image_timeout: Annotated[
        Duration, between(0.1, 600), images("IMAGE_TIMEOUT", help="Longest time for one image.")
    ] = 30.0

    log_level: Annotated[LogLevel, logs("LOG_LEVEL", help="debug, info, warning, error or critical.")] = "info"
    log_format: Annotated[
        LogFormat, logs("LOG_FORMAT", help="json, console, or auto: console on a terminal, json otherwise.")
    ] = "auto"

    otel_traces_exporter: Annotated[
        str | None,
        traces(
            "OTEL_TRACES_EXPORTER",
            default="otlp if an address below is set",
            example="otlp",
            help="otlp sends spans to a collector; none does not. Needs the extra `otel`.",
        ),
    ] = None
    otel_endpoint: Annotated[
        WebAddress | None,
        traces(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            example="http://localhost:4318",
            help="Collector that takes OTLP over HTTP; spans go to `/v1/traces` there.",
        ),
    ] = None
    otel_traces_endpoint: Annotated[
        WebAddress | None,
        traces(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            example="http://localhost:4318/v1/traces",
            help="Where spans go, as a whole address; wins over the one above.",
        ),
    ] = None
    otel_headers: Annotated[
        SecretStr | None,
        traces(
            "OTEL_EXPORTER_OTLP_HEADERS",
            secret=True,
            example="api-key=…",
            help="Headers for the collector, comma separated.",
        ),
    ] = None
    otel_traces_headers: Annotated[
        SecretStr | None,
        traces(
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS", secret=True, example="api-key=…", help="The same, instead of these."
        ),
    ] = None
    otel_protocol: Annotated[
        str,
        traces("OTEL_EXPORTER_OTLP_PROTOCOL", help="Only http/protobuf is spoken; with another one nothing is sent."),
    ] = OTLP_HTTP
    otel_service_name: Annotated[str, traces("OTEL_SERVICE_NAME", help="Under which name spans are found.")] = (
        "generation-worker"
    )
    otel_sdk_disabled: Annotated[bool, traces("OTEL_SDK_DISABLED", help="Send nothing, whatever else is set.")] = False
