"""The settings: one field for each, declared with its variable, its range, its default and its help.

Everything that names the settings is made from these declarations: loading and its messages,
``generation-worker config``, the README's table and ``.env.example``. Durations are float seconds.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import unquote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from generation_worker.config.database import DatabaseAddress, parse_database_url
from generation_worker.config.kinds import (
    AccountId,
    ApiVersion,
    Bucket,
    ConfigurationError,
    Duration,
    Factor,
    Keys,
    LogFormat,
    LogLevel,
    ModelName,
    Origin,
    PublicAddress,
    Region,
    ReplicateModel,
    Retention,
    SchemaName,
    Secret,
    WebAddress,
    WebhookSecrets,
    WorkerId,
    between,
    derived,
    group,
)
from generation_worker.domain.fleet import HIGHEST_CONCURRENCY, HIGHEST_RATE, LONGEST_POLL, SHORTEST_POLL
from generation_worker.domain.schema import SCHEMA
from generation_worker.domain.token import LARGEST_BODY_KB, LARGEST_JSON_KB

# The settings of the worker itself: database, pace, patience, HTTP.


DATABASE_EXAMPLE = "postgresql://user:password@host:5432/database"

database = group("Database")
worker = group("Worker")
retries = group("Retries and limits of a job")
http = group("HTTP")
rates = group("Rate limits")


class WorkerSettings(BaseSettings):
    """What the worker needs to know, whatever makes and keeps the images."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[
        SecretStr | None,
        database(
            "DATABASE_URL",
            secret=True,
            example=DATABASE_EXAMPLE,
            help="Address of the Postgres database, as Prisma, Neon or libpq write it. `demo` brings its own.",
        ),
    ] = None
    direct_url: Annotated[
        SecretStr | None,
        database(
            "DIRECT_URL",
            secret=True,
            default="`DATABASE_URL`",
            example=DATABASE_EXAMPLE,
            help="Its address without a pooler, for migrations and LISTEN.",
        ),
    ] = None
    database_schema: Annotated[
        SchemaName,
        database("DATABASE_SCHEMA", help="Schema of our tables and functions. `?schema=` in an address is the app's."),
    ] = SCHEMA

    concurrency: Annotated[
        int,
        between(1, HIGHEST_CONCURRENCY),
        worker(
            "WORKER_CONCURRENCY",
            "WORKER_MAX_WORKERS",
            help="Jobs that one worker does at once.",
            followed="concurrency",
        ),
    ] = 5
    worker_id: Annotated[
        WorkerId,
        worker("WORKER_ID", default="random for each start", help="Name of this worker, in `locked_by` and in logs."),
    ] = Field(default_factory=lambda: f"worker-{secrets.token_hex(4)}")
    poll_interval: Annotated[
        Duration,
        between(SHORTEST_POLL, LONGEST_POLL),
        worker(
            "POLL_INTERVAL_MS",
            "WORKER_POLL_INTERVAL",
            help="How often a busy worker looks for work. A plain number is milliseconds in the first name, "
            "seconds in the second.",
            followed="poll_interval",
        ),
    ] = 1.0
    idle_poll_interval: Annotated[
        Duration,
        between(0.01, 86_400),
        worker(
            "IDLE_POLL_INTERVAL",
            default="5s, or `POLL_INTERVAL_MS` if longer",
            example="5s",
            help="How often an idle worker that LISTEN can wake looks for work.",
        ),
    ] = derived("poll_interval", lambda busy: max(5.0, busy))
    listen_notify: Annotated[
        bool,
        worker("LISTEN_NOTIFY", help="Wake up by LISTEN when a job is enqueued; needs an address without a pooler."),
    ] = True
    job_timeout: Annotated[
        Duration, between(1, 86_400), worker("WORKER_JOB_TIMEOUT", help="Longest time of one attempt.")
    ] = 600.0
    lease_duration: Annotated[
        Duration,
        between(1, 3600),
        worker("LEASE_DURATION", help="How long a silent worker keeps its jobs before others take them."),
    ] = 60.0
    shutdown_grace: Annotated[
        Duration,
        between(0, 86_400),
        worker("SHUTDOWN_GRACE", help="Time for running jobs to end after SIGTERM; the rest go back to the queue."),
    ] = 100.0
    max_stuck_threads: Annotated[
        int,
        between(1, 1000),
        worker(
            "MAX_STUCK_THREADS",
            default="half of the concurrency, at least 1",
            example="2",
            help="The process ends, to be replaced, when so many jobs outlive their timeout.",
        ),
    ] = derived("concurrency", lambda concurrency: max(1, concurrency // 2))
    cleanup_interval: Annotated[
        Duration, between(1, 86_400), worker("WORKER_CLEANUP_INTERVAL", help="How often maintenance runs.")
    ] = 3600.0
    retention: Annotated[
        Retention,
        between(0, 36_500 * 86_400),
        worker("RETENTION", help="Final jobs older than this are deleted; 0 keeps them for ever."),
    ] = 90 * 86_400.0

    upload_retention: Annotated[
        Retention,
        between(0, 36_500 * 86_400),
        worker(
            "UPLOAD_RETENTION",
            help="Images that were uploaded longer ago than this, and that no job which waits or runs names, are "
            "deleted; 0 keeps them for ever.",
        ),
    ] = 7 * 86_400.0

    max_retries: Annotated[
        int,
        between(0, 100),
        retries("WORKER_MAX_RETRIES", "RETRY_MAX_RETRIES", help="Attempts after the first one."),
    ] = 3
    retry_initial_delay: Annotated[
        Duration,
        between(0, 86_400),
        retries("RETRY_INITIAL_DELAY", "WORKER_RETRY_DELAY", help="Wait before the first retry."),
    ] = 5.0
    retry_max_delay: Annotated[
        Duration,
        between(0, 7 * 86_400),
        retries(
            "RETRY_MAX_DELAY",
            default="5m, or `RETRY_INITIAL_DELAY` if longer",
            example="5m",
            help="Longest wait before a retry.",
        ),
    ] = derived("retry_initial_delay", lambda initial: max(300.0, initial))
    retry_backoff_factor: Annotated[
        Factor,
        between(1, 100),
        retries("RETRY_BACKOFF_FACTOR", help="Each wait is so many times the one before."),
    ] = 2.0
    retry_jitter: Annotated[
        bool, retries("RETRY_JITTER", help="Spread retries at random, so that they do not come all at once.")
    ] = True
    max_crashes: Annotated[
        int, between(0, 100), retries("MAX_CRASHES", help="A job whose worker has crashed so many times fails.")
    ] = 3
    max_rate_limit_waits: Annotated[
        int,
        between(0, 100_000),
        retries("MAX_RATE_LIMIT_WAITS", help="A job that met a rate limit more often than this fails."),
    ] = 100
    max_paid_calls: Annotated[
        int, between(1, 100), retries("MAX_PAID_CALLS", help="Most calls that a provider may charge for one job.")
    ] = 2

    port: Annotated[
        int,
        between(0, 65_535),
        http("PORT", "WORKER_HEALTH_CHECK_PORT", help="Port of the HTTP server; 0 takes a free one."),
    ] = 8080
    health_host: Annotated[
        str,
        http("HEALTH_HOST", default="all interfaces, IPv4 and IPv6", help="Address that the HTTP server listens on."),
    ] = ""
    enable_health_check: Annotated[
        bool, http("WORKER_ENABLE_HEALTH_CHECK", help="Serve `/health`, `/health/ready` and `/health/live`.")
    ] = True
    enable_api: Annotated[bool, http("ENABLE_API", help="Serve the HTTP API under `/worker`.")] = True
    api_requests_per_minute: Annotated[
        int,
        between(1, 1_000_000),
        http(
            "API_REQUESTS_PER_MINUTE",
            help="Requests that one key may send, to the fleet together; a key may have its own.",
        ),
    ] = 600
    api_most_waiting: Annotated[
        int,
        between(1, 1_000_000),
        http("API_MOST_WAITING", help="Jobs that a user may have waiting when one is enqueued over HTTP."),
    ] = 1000
    api_max_body_kb: Annotated[
        int,
        between(1, LARGEST_JSON_KB),
        http("API_MAX_BODY_KB", help="Larger JSON is not taken over HTTP, in KiB; a key may have its own limit."),
    ] = 256
    upload_max_mb: Annotated[
        int,
        between(1, LARGEST_BODY_KB // 1024),
        http(
            "UPLOAD_MAX_MB",
            help="Larger images are not taken by `POST /worker/images`, in MiB; a key's own limit may be lower.",
        ),
    ] = 20
    api_most_streams: Annotated[
        int,
        between(1, 10_000),
        http("API_MOST_STREAMS", help="Streams of events that one worker keeps open; each needs a file descriptor."),
    ] = 500
    api_streams_per_key: Annotated[
        int,
        between(1, 10_000),
        http("API_STREAMS_PER_KEY", help="Of these, streams that one key may have open."),
    ] = 250
    enable_metrics: Annotated[bool, http("WORKER_ENABLE_METRICS", help="Serve `/metrics` for Prometheus.")] = True
    enable_dashboard: Annotated[bool, http("ENABLE_DASHBOARD", "ENABLE_BULL_BOARD", help="Serve the dashboard.")] = True

    max_jobs_per_minute: Annotated[
        int,
        between(1, HIGHEST_RATE),
        rates("MAX_JOBS_PER_MINUTE", help="Provider calls per minute; the provider's own limit, below, wins over it."),
    ] = 60


# The settings of the providers. docs/providers.md shows how to add one.


gemini = group("Gemini")
replicate = group("Replicate")
local = group("Local provider")


class ProviderSettings(WorkerSettings):
    """What the providers need to know. After the worker's, because a provider's rate follows the worker's."""

    gemini_api_keys: Annotated[
        Keys,
        gemini(
            "GEMINI_API_KEY",
            secret=True,
            help="Key of Google AI Studio, needed for `gemini`. Several, comma separated, add up.",
        ),
    ] = ()
    gemini_rpm: Annotated[
        int,
        between(1, 30_000),
        gemini(
            "GEMINI_RPM",
            default="`MAX_JOBS_PER_MINUTE`",
            example="60",
            help="Calls per minute and key.",
            followed="calls_per_minute.gemini",
        ),
    ] = derived("max_jobs_per_minute")
    gemini_model: Annotated[
        ModelName, gemini("GEMINI_MODEL", "GEMINI_MODEL_NAME", help="Model that makes the images.")
    ] = "gemini-nano-banana-2.1"
    gemini_base_url: Annotated[
        WebAddress | None,
        gemini(
            "GEMINI_BASE_URL",
            default="Google's",
            example="https://generativelanguage.googleapis.com",
            help="Address of the API.",
        ),
    ] = None
    gemini_timeout: Annotated[
        Duration, between(1, 3600), gemini("GEMINI_TIMEOUT", help="Longest wait for an answer.")
    ] = 180.0
    gemini_api_version: Annotated[ApiVersion, gemini("GEMINI_API_VERSION", help="Version of the API.")] = "v1beta"

    replicate_api_token: Annotated[
        Secret | None, replicate("REPLICATE_API_TOKEN", secret=True, help="Token, needed for `replicate`.")
    ] = None
    replicate_rpm: Annotated[
        int,
        between(1, 30_000),
        replicate(
            "REPLICATE_RPM",
            default="`MAX_JOBS_PER_MINUTE`",
            example="60",
            help="Predictions per minute.",
            followed="calls_per_minute.replicate",
        ),
    ] = derived("max_jobs_per_minute")
    replicate_model: Annotated[
        ReplicateModel, replicate("REPLICATE_MODEL", help="Model that makes the images, as owner/name.")
    ] = "google/nano-banana"
    replicate_base_url: Annotated[
        WebAddress | None,
        replicate(
            "REPLICATE_BASE_URL",
            default="Replicate's",
            example="https://api.replicate.com",
            help="Address of the API.",
        ),
    ] = None
    replicate_timeout: Annotated[
        Duration,
        between(1, 600),
        replicate("REPLICATE_TIMEOUT", help="Longest wait for one HTTP call; a prediction may take the job's timeout."),
    ] = 12.0
    replicate_webhook_secrets: Annotated[
        WebhookSecrets,
        replicate(
            "REPLICATE_WEBHOOK_SECRET",
            secret=True,
            help="Signing secret of the account's webhooks, which end the wait for a prediction sooner. While it is "
            "exchanged: the new one and the old one, comma separated.",
        ),
    ] = ()
    replicate_webhook_url: Annotated[
        PublicAddress | None,
        replicate(
            "REPLICATE_WEBHOOK_URL",
            example="https://worker.example.com",
            help="Where Replicate reaches the HTTP server of this worker, or of another one on the same database.",
        ),
    ] = None
    replicate_poll_interval: Annotated[
        Duration,
        between(0.1, 60),
        replicate(
            "REPLICATE_POLL_INTERVAL",
            default="5s, or 20s with `REPLICATE_WEBHOOK_URL`",
            example="5s",
            help="Longest pause between two looks at a prediction.",
        ),
    ] = derived("replicate_webhook_url", lambda url: 20.0 if url else 5.0)

    local_provider: Annotated[
        bool, local("LOCAL_PROVIDER", help="Offer `local`, which draws the prompt as a picture, without any key.")
    ] = True
    local_delay: Annotated[
        Duration, between(0, 3600), local("LOCAL_DELAY", help="How long `local` takes for a picture.")
    ] = 0.0
    local_faults: Annotated[str, local("LOCAL_FAULTS", help="Faults that `local` plays, to try out what follows.")] = ""


# The settings of what the worker uses beside providers: storage, images, logs.


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


class Settings(AdapterSettings):
    """Every setting of a worker, checked. Made by ``load_settings``; nothing below the wiring sees it."""

    origins: Mapping[str, Origin] = Field(default_factory=dict[str, Origin], repr=False)
    """Field → where its value came from; a field that is not here has its default."""
    notices: list[str] = Field(default_factory=list[str])
    """What is worth knowing though nothing is wrong, one line each, never the value of a secret."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: ``load_settings`` resolves names, aliases and units first."""
        return (init_settings,)

    @property
    def max_attempts(self) -> int:
        """Attempts of one job: the first and its retries."""
        return self.max_retries + 1

    @property
    def serves_http(self) -> bool:
        """Whether anybody but a provider is answered on the port."""
        return self.enable_health_check or self.enable_metrics or self.enable_api or self.enable_dashboard

    @property
    def storage(self) -> Literal["s3", "r2", "disk"]:
        """Where images are kept."""
        if self.s3_bucket is not None:
            return "s3"
        return "r2" if self.r2_bucket is not None else "disk"

    @property
    def asks_for_traces(self) -> bool:
        """Whether spans are to go to a collector, as OpenTelemetry's own variables say."""
        if self.otel_sdk_disabled:
            return False
        if self.otel_traces_exporter is None:
            return self.traces_address is not None
        return "otlp" in [name.strip() for name in self.otel_traces_exporter.split(",")]

    @property
    def sends_traces(self) -> bool:
        """Whether they are, and we can."""
        return self.asks_for_traces and self.otel_protocol == OTLP_HTTP

    @property
    def traces_address(self) -> str | None:
        """None: where OpenTelemetry looks by itself, on this machine."""
        below = f"{self.otel_endpoint}/v1/traces" if self.otel_endpoint else None
        return self.otel_traces_endpoint or below

    @property
    def traces_headers(self) -> dict[str, str]:
        """Headers for the collector. Their values are secrets."""
        given = self.otel_traces_headers or self.otel_headers
        pairs = [pair.partition("=") for pair in given.get_secret_value().split(",")] if given else []
        return {unquote(name.strip()).lower(): unquote(value.strip()) for name, _, value in pairs if name.strip()}

    def is_set(self, *fields: str) -> bool:
        """Whether any of ``fields`` was given a value, rather than left at its default."""
        return any(field in self.origins for field in fields)

    def require_database(self) -> DatabaseAddress:
        """The database. Raises ConfigurationError if no address is set."""
        if self.database_url is None:
            raise ConfigurationError(
                [f"DATABASE_URL is not set: give the address of the Postgres database, such as {DATABASE_EXAMPLE}"]
            )
        return parse_database_url(self.database_url.get_secret_value(), schema=self.database_schema)

    def direct_database(self) -> DatabaseAddress | None:
        """The database without a pooler: DIRECT_URL, or DATABASE_URL if that is no pooler's address.

        None if there is none: then there is no LISTEN, and migrations go through the pooler.
        """
        return next((address for address in self.database_addresses().values() if not address.pooled), None)

    def database_addresses(self) -> dict[str, DatabaseAddress]:
        """Variable → address, for those that are set, the direct one first.

        Raises ConfigurationError if one cannot be read; ``load_settings`` has made sure that they can.
        """
        urls = {"DIRECT_URL": self.direct_url, "DATABASE_URL": self.database_url}
        return {
            name: parse_database_url(url.get_secret_value(), name, schema=self.database_schema)
            for name, url in urls.items()
            if url is not None
        }

    def secret_values(self) -> list[str]:
        """Every secret as plain text, passwords inside addresses too, so that logs can hide them."""
        values = [getattr(self, field) for field in type(self).model_fields]
        several = [each for value in values if isinstance(value, tuple) for each in cast("tuple[object, ...]", value)]
        plain = [value for value in [*values, *several] if isinstance(value, SecretStr)]
        headers = self.traces_headers.values()
        inside = [secret for address in self.database_addresses().values() for secret in address.secrets()]
        return list(dict.fromkeys([*[secret.get_secret_value() for secret in plain], *inside, *headers]))
