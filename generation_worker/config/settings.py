"""The settings: one field for each, declared with its variable, its default, a sentence and its range.

Everything that names the settings is made from these declarations: loading and its messages,
``generation-worker config``, the README's table and ``.env.example``. Durations are float seconds.
docs/providers.md shows how a provider adds its own.
"""

import os
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin
from urllib.parse import unquote

from annotated_types import Interval
from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from generation_worker.config.database import DatabaseAddress, parse_database_url
from generation_worker.config.kinds import (
    DAY,
    DURATION,
    HOUR,
    MINUTE,
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
    Setting,
    WebAddress,
    WebhookSecrets,
    WorkerId,
    derived,
    format_duration,
    group,
)
from generation_worker.domain.fleet import HIGHEST_CONCURRENCY, HIGHEST_RATE, LONGEST_POLL, SHORTEST_POLL
from generation_worker.domain.schema import SCHEMA
from generation_worker.domain.token import LARGEST_BODY_KB, LARGEST_JSON_KB

DATABASE_EXAMPLE = "postgresql://user:password@host:5432/database"
OTLP_HTTP = "http/protobuf"
"""The protocol of OpenTelemetry that is supported."""

database = group("Database")
worker = group("Worker")
retries = group("Retries and limits of a job")
http = group("HTTP")
rates = group("Rate limits")
gemini = group("Gemini")
replicate = group("Replicate")
local = group("Local provider")
s3 = group("Storage: S3")
r2 = group("Storage: Cloudflare R2")
buckets = group("Storage: S3 and R2")
disk = group("Storage: local disk")
fetch = group("Inputs by URL")
webhooks = group("Webhooks to the app")
images = group("Images")
logs = group("Logs")
traces = group("Traces")


class Settings(BaseSettings):
    """Every setting of a worker, checked. Made by ``load_settings``; nothing below the wiring sees it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # A setting a block: name, type, variable and default, then its sentence, then what else there is to it.
    # fmt: off

    database_url: SecretStr | None = database("DATABASE_URL", None,
        "Address of the Postgres database, as Prisma, Neon or libpq write it. `demo` brings its own.",
        secret=True, example=DATABASE_EXAMPLE)
    direct_url: SecretStr | None = database("DIRECT_URL", None,
        "Its address without a pooler, for migrations and LISTEN.",
        secret=True, default_words="`DATABASE_URL`", example=DATABASE_EXAMPLE)
    database_schema: SchemaName = database("DATABASE_SCHEMA", SCHEMA,
        "Schema of our tables and functions. `?schema=` in an address is the app's.")

    concurrency: int = worker("WORKER_CONCURRENCY", 5,
        "Jobs that one worker does at once.",
        aliases=("WORKER_MAX_WORKERS",), between=(1, HIGHEST_CONCURRENCY), followed="concurrency")
    worker_id: WorkerId = worker("WORKER_ID", lambda: f"worker-{secrets.token_hex(4)}",
        "Name of this worker, in `locked_by` and in logs.",
        default_words="random for each start")
    poll_interval: Duration = worker("POLL_INTERVAL_MS", 1.0,
        "How often a busy worker polls for work. A plain number is milliseconds in the first name, seconds in the "
        "second.",
        aliases=("WORKER_POLL_INTERVAL",), between=(SHORTEST_POLL, LONGEST_POLL), followed="poll_interval")
    idle_poll_interval: Duration = worker("IDLE_POLL_INTERVAL", derived("poll_interval", lambda busy: max(5.0, busy)),
        "How often an idle worker that LISTEN can wake polls for work.",
        between=(0.01, DAY), default_words="5s, or `POLL_INTERVAL_MS` if longer", example="5s")
    listen_notify: bool = worker("LISTEN_NOTIFY", True,
        "Wake up by LISTEN when a job is enqueued; needs an address without a pooler.")
    job_timeout: Duration = worker("WORKER_JOB_TIMEOUT", 10 * MINUTE,
        "Longest time of one attempt.",
        between=(1, DAY))
    lease_duration: Duration = worker("LEASE_DURATION", MINUTE,
        "How long a silent worker keeps its jobs before others take them.",
        between=(1, HOUR))
    shutdown_grace: Duration = worker("SHUTDOWN_GRACE", 100.0,
        "Time for running jobs to end after SIGTERM; the rest go back to the queue.",
        between=(0, DAY))
    max_stuck_threads: int = worker("MAX_STUCK_THREADS", derived("concurrency", lambda jobs: max(1, jobs // 2)),
        "The process ends, to be replaced, when so many jobs outlive their timeout.",
        between=(1, 1000), default_words="half of the concurrency, at least 1", example="2")
    cleanup_interval: Duration = worker("WORKER_CLEANUP_INTERVAL", HOUR,
        "How often maintenance runs.",
        between=(1, DAY))
    retention: Retention = worker("RETENTION", 90 * DAY,
        "Final jobs older than this are deleted; 0 keeps them for ever.",
        between=(0, 36_500 * DAY))
    upload_retention: Retention = worker("UPLOAD_RETENTION", 7 * DAY,
        "Uploaded images older than this are deleted, unless a waiting or running job names them; 0 keeps all.",
        between=(0, 36_500 * DAY))

    max_retries: int = retries("WORKER_MAX_RETRIES", 3,
        "Attempts after the first one.",
        aliases=("RETRY_MAX_RETRIES",), between=(0, 100))
    retry_initial_delay: Duration = retries("RETRY_INITIAL_DELAY", 5.0,
        "Wait before the first retry.",
        aliases=("WORKER_RETRY_DELAY",), between=(0, DAY))
    retry_max_delay: Duration = retries("RETRY_MAX_DELAY",
        derived("retry_initial_delay", lambda initial: max(5 * MINUTE, initial)),
        "Longest wait before a retry.",
        between=(0, 7 * DAY), default_words="5m, or `RETRY_INITIAL_DELAY` if longer", example="5m")
    retry_backoff_factor: Factor = retries("RETRY_BACKOFF_FACTOR", 2.0,
        "Each wait is so many times the one before.",
        between=(1, 100))
    retry_jitter: bool = retries("RETRY_JITTER", True,
        "Spread retries at random, so that they do not come all at once.")
    max_crashes: int = retries("MAX_CRASHES", 3,
        "A job whose worker has crashed so many times fails.",
        between=(0, 100))
    max_rate_limit_waits: int = retries("MAX_RATE_LIMIT_WAITS", 100,
        "A job that met a rate limit more often than this fails.",
        between=(0, 100_000))
    max_paid_calls: int = retries("MAX_PAID_CALLS", 2,
        "Most calls that a provider may charge for one job.",
        between=(1, 100))

    port: int = http("PORT", 8080,
        "Port of the HTTP server; 0 takes a free one.",
        aliases=("WORKER_HEALTH_CHECK_PORT",), between=(0, 65_535))
    health_host: str = http("HEALTH_HOST", "",
        "Address that the HTTP server listens on.",
        default_words="all interfaces, IPv4 and IPv6")
    enable_health_check: bool = http("WORKER_ENABLE_HEALTH_CHECK", True,
        "Serve `/health`, `/health/ready` and `/health/live`.")
    enable_api: bool = http("ENABLE_API", True,
        "Serve the HTTP API under `/worker`.")
    api_requests_per_minute: int = http("API_REQUESTS_PER_MINUTE", 600,
        "Requests that one key may send, to the fleet together; a key may have its own.",
        between=(1, 1_000_000))
    api_most_waiting: int = http("API_MOST_WAITING", 1000,
        "Jobs that a user may have waiting when one is enqueued over HTTP.",
        between=(1, 1_000_000))
    api_max_body_kb: int = http("API_MAX_BODY_KB", 256,
        "Largest JSON that is accepted over HTTP, in KiB; a key may have its own limit.",
        between=(1, LARGEST_JSON_KB))
    upload_max_mb: int = http("UPLOAD_MAX_MB", 20,
        "Largest image that `POST /worker/images` accepts, in MiB; a key's own limit may be lower.",
        between=(1, LARGEST_BODY_KB // 1024))
    api_most_streams: int = http("API_MOST_STREAMS", 500,
        "Streams of events that one worker keeps open; each needs a file descriptor.",
        between=(1, 10_000))
    api_streams_per_key: int = http("API_STREAMS_PER_KEY", 250,
        "Of these, streams that one key may have open.",
        between=(1, 10_000))
    enable_metrics: bool = http("WORKER_ENABLE_METRICS", True,
        "Serve `/metrics` for Prometheus.")
    enable_dashboard: bool = http("ENABLE_DASHBOARD", True,
        "Serve the dashboard.",
        aliases=("ENABLE_BULL_BOARD",))

    max_jobs_per_minute: int = rates("MAX_JOBS_PER_MINUTE", 60,
        "Provider calls per minute; the provider's own limit, below, wins over it.",
        between=(1, HIGHEST_RATE))

    gemini_api_keys: Keys = gemini("GEMINI_API_KEY", (),
        "Key of Google AI Studio, needed for `gemini`. Several, comma separated, add up.",
        secret=True)
    gemini_rpm: int = gemini("GEMINI_RPM", derived("max_jobs_per_minute"),
        "Calls per minute and key.",
        between=(1, 30_000), default_words="`MAX_JOBS_PER_MINUTE`", example="60", followed="calls_per_minute.gemini")
    gemini_model: ModelName = gemini("GEMINI_MODEL", "gemini-nano-banana-2.1",
        "Model that makes the images.",
        aliases=("GEMINI_MODEL_NAME",))
    gemini_base_url: WebAddress | None = gemini("GEMINI_BASE_URL", None,
        "Address of the API.",
        default_words="Google's", example="https://generativelanguage.googleapis.com")
    gemini_timeout: Duration = gemini("GEMINI_TIMEOUT", 180.0,
        "Longest wait for an answer.",
        between=(1, HOUR))
    gemini_api_version: ApiVersion = gemini("GEMINI_API_VERSION", "v1beta",
        "Version of the API.")

    replicate_api_token: Secret | None = replicate("REPLICATE_API_TOKEN", None,
        "Token, needed for `replicate`.",
        secret=True)
    replicate_rpm: int = replicate("REPLICATE_RPM", derived("max_jobs_per_minute"),
        "Predictions per minute.",
        between=(1, 30_000), default_words="`MAX_JOBS_PER_MINUTE`", example="60", followed="calls_per_minute.replicate")
    replicate_model: ReplicateModel = replicate("REPLICATE_MODEL", "google/nano-banana",
        "Model that makes the images, as owner/name.")
    replicate_base_url: WebAddress | None = replicate("REPLICATE_BASE_URL", None,
        "Address of the API.",
        default_words="Replicate's", example="https://api.replicate.com")
    replicate_timeout: Duration = replicate("REPLICATE_TIMEOUT", 12.0,
        "Longest wait for one HTTP call; a prediction may take the job's timeout.",
        between=(1, 10 * MINUTE))
    replicate_webhook_secrets: WebhookSecrets = replicate("REPLICATE_WEBHOOK_SECRET", (),
        "Signing secret of the account's webhooks, which end the wait for a prediction sooner. While it is exchanged: "
        "the new one and the old one, comma separated.",
        secret=True)
    replicate_webhook_url: PublicAddress | None = replicate("REPLICATE_WEBHOOK_URL", None,
        "Where Replicate reaches the HTTP server of this worker, or of another one on the same database.",
        example="https://worker.example.com")
    replicate_poll_interval: Duration = replicate("REPLICATE_POLL_INTERVAL",
        derived("replicate_webhook_url", lambda url: 20.0 if url else 5.0),
        "Longest pause between two requests for a prediction's state.",
        between=(0.1, MINUTE), default_words="5s, or 20s with `REPLICATE_WEBHOOK_URL`", example="5s")

    local_provider: bool = local("LOCAL_PROVIDER", True,
        "Offer `local`, which draws the prompt as a picture, without any key.")
    local_delay: Duration = local("LOCAL_DELAY", 0.0,
        "How long `local` takes for a picture.",
        between=(0, HOUR))
    local_faults: str = local("LOCAL_FAULTS", "",
        "Faults that `local` simulates, to try out what follows.")

    s3_bucket: Bucket | None = s3("S3_BUCKET", None,
        "Bucket for the images; chooses S3.",
        example="my-images")
    aws_access_key_id: Secret | None = s3("AWS_ACCESS_KEY_ID", None,
        "Key of the bucket.",
        secret=True)
    aws_secret_access_key: Secret | None = s3("AWS_SECRET_ACCESS_KEY", None,
        "Secret of that key.",
        secret=True)
    aws_region: Region = s3("AWS_REGION", "us-east-1",
        "Region of the bucket.")
    s3_endpoint_url: WebAddress | None = s3("S3_ENDPOINT_URL", None,
        "Another server with S3's API.",
        default_words="Amazon's", example="https://s3.example.com")

    r2_bucket: Bucket | None = r2("R2_BUCKET", None,
        "Bucket for the images; chooses R2.",
        example="my-images")
    r2_account_id: AccountId | None = r2("R2_ACCOUNT_ID", None,
        "Cloudflare account of the bucket.")
    r2_access_key_id: Secret | None = r2("R2_ACCESS_KEY_ID", None,
        "Key of the bucket.",
        secret=True)
    r2_secret_access_key: Secret | None = r2("R2_SECRET_ACCESS_KEY", None,
        "Secret of that key.",
        secret=True)
    r2_public_url: WebAddress | None = r2("R2_PUBLIC_URL", None,
        "Public address of the bucket; links are presigned without it.",
        example="https://images.example.com")

    storage_timeout: Duration = buckets("STORAGE_TIMEOUT", 10.0,
        "Longest wait for an answer; a request that got none is sent once more.",
        between=(1, 10 * MINUTE))

    storage_dir: Path = disk("STORAGE_DIR", Path("storage"),
        "Directory for the images, when neither S3 nor R2 is set.")

    fetch_timeout: Duration = fetch("FETCH_TIMEOUT", 30.0,
        "Longest time for one input, redirects included.",
        between=(1, 10 * MINUTE))
    fetch_max_mb: int = fetch("FETCH_MAX_MB", 20,
        "Larger inputs are refused, in MiB; of images 50 is the most.",
        between=(1, 50))
    fetch_cache_mb: int = fetch("FETCH_CACHE_MB", 256,
        "Disk, in MiB, for inputs that several jobs may want within an hour; 0 keeps none.",
        between=(0, 1_000_000))
    fetch_cache_dir: Path | None = fetch("FETCH_CACHE_DIR", None,
        "Where they are kept.",
        default_words="the system's, such as `/tmp`", example="/var/cache")
    fetch_allow_private: bool = fetch("FETCH_ALLOW_PRIVATE", False,
        "For development: also fetch from private hosts, by http and on any port.")

    webhook_timeout: Duration = webhooks("WEBHOOK_TIMEOUT", 15.0,
        "Longest wait for an endpoint's answer.",
        between=(1, MINUTE))
    webhook_allow_private: bool = webhooks("WEBHOOK_ALLOW_PRIVATE", False,
        "Also send to endpoints in a private network, by http and on any port.")

    image_children: int = images("IMAGE_CHILDREN", lambda: min(os.cpu_count() or 1, 4),
        "Processes that convert images.",
        between=(1, 64), default_words="number of CPUs, at most 4", example="4")
    image_max_pixels: int = images("IMAGE_MAX_PIXELS", 50_000_000,
        "Larger images are refused.",
        between=(1, 1_000_000_000))
    image_memory_mb: int = images("IMAGE_MEMORY_MB", 1024,
        "Memory of each such process, in MiB.",
        between=(64, 65_536))
    image_timeout: Duration = images("IMAGE_TIMEOUT", 30.0,
        "Longest time for one image.",
        between=(0.1, 10 * MINUTE))

    log_level: LogLevel = logs("LOG_LEVEL", "info",
        "debug, info, warning, error or critical.")
    log_format: LogFormat = logs("LOG_FORMAT", "auto",
        "json, console, or auto: console on a terminal, json otherwise.")

    otel_traces_exporter: str | None = traces("OTEL_TRACES_EXPORTER", None,
        "otlp sends spans to a collector; none does not. Needs the extra `otel`.",
        default_words="otlp if an address below is set", example="otlp")
    otel_endpoint: WebAddress | None = traces("OTEL_EXPORTER_OTLP_ENDPOINT", None,
        "Collector that takes OTLP over HTTP; spans go to `/v1/traces` there.",
        example="http://localhost:4318")
    otel_traces_endpoint: WebAddress | None = traces("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None,
        "Where spans go, as a whole address; wins over the one above.",
        example="http://localhost:4318/v1/traces")
    otel_headers: SecretStr | None = traces("OTEL_EXPORTER_OTLP_HEADERS", None,
        "Headers for the collector, comma separated.",
        secret=True, example="api-key=…")
    otel_traces_headers: SecretStr | None = traces("OTEL_EXPORTER_OTLP_TRACES_HEADERS", None,
        "Headers for spans only, instead of the ones above.",
        secret=True, example="api-key=…")
    otel_protocol: str = traces("OTEL_EXPORTER_OTLP_PROTOCOL", OTLP_HTTP,
        "Only http/protobuf is spoken; with another one nothing is sent.")
    otel_service_name: str = traces("OTEL_SERVICE_NAME", "generation-worker",
        "Name of the service in the spans.")
    otel_sdk_disabled: bool = traces("OTEL_SDK_DISABLED", False,
        "Send nothing, whatever else is set.")
    # fmt: on

    origins: Mapping[str, Origin] = Field(default_factory=dict[str, Origin], repr=False)
    """Field → where its value came from; a field that is not here has its default."""
    notices: list[str] = Field(default_factory=list[str])
    """Hints about settings that are right but doubtful, one line each, never with the value of a secret."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the values given to the class: ``load_settings`` resolves names, aliases and units first."""
        return (init_settings,)

    @property
    def max_attempts(self) -> int:
        """Attempts of one job: the first and its retries."""
        return self.max_retries + 1

    @property
    def serves_http(self) -> bool:
        """Whether the port answers anybody but a provider."""
        return self.enable_health_check or self.enable_metrics or self.enable_api or self.enable_dashboard

    @property
    def storage(self) -> Literal["s3", "r2", "disk"]:
        """Where images are kept."""
        if self.s3_bucket is not None:
            return "s3"
        return "r2" if self.r2_bucket is not None else "disk"

    @property
    def asks_for_traces(self) -> bool:
        """Whether OpenTelemetry's variables ask for spans to be sent to a collector."""
        if self.otel_sdk_disabled:
            return False
        if self.otel_traces_exporter is None:
            return self.traces_address is not None
        return "otlp" in [name.strip() for name in self.otel_traces_exporter.split(",")]

    @property
    def sends_traces(self) -> bool:
        """Whether spans go to a collector: they should, over a protocol that is supported."""
        return self.asks_for_traces and self.otel_protocol == OTLP_HTTP

    @property
    def traces_address(self) -> str | None:
        """Where spans go; None is OpenTelemetry's own default, on this machine."""
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


@cache
def declarations() -> dict[str, Setting]:
    """Field → its declaration, in the order of the declarations."""
    found: dict[str, Setting] = {}
    for field, info in Settings.model_fields.items():
        setting = next((part for part in info.metadata if isinstance(part, Setting)), None)
        if setting is not None:
            found[field] = setting
    return found


def is_duration(field: str) -> bool:
    """Whether ``field`` is a span of time, in seconds."""
    return DURATION in _info(field).metadata


def expectation(field: str) -> str | None:
    """What a value of ``field`` must be, after "must be"; None if its validator says it better."""
    kind = _info(field).annotation
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}"
    if is_duration(field):
        return f"a duration such as 500ms, 30s, 5m or 1h{_range(field, format_duration)}"
    if kind is int:
        return f"a whole number{_range(field, str)}"
    return f"a number{_range(field, '{:g}'.format)}" if kind is float else None


def _info(field: str) -> FieldInfo:
    return Settings.model_fields[field]


def _range(field: str, text: Callable[[Any], str]) -> str:
    limits = next((part for part in _info(field).metadata if isinstance(part, Interval)), None)
    return "" if limits is None else f", from {text(limits.ge)} to {text(limits.le)}"
