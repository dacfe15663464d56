"""The settings of the worker itself: database, pace, patience, HTTP."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from generation_worker.config.kinds import Duration, Factor, Retention, WorkerId
from generation_worker.config.setting import between, derived, group
from generation_worker.domain.control import HIGHEST_CONCURRENCY, HIGHEST_RATE, LONGEST_POLL, SHORTEST_POLL
from generation_worker.domain.token import LARGEST_BODY_KB, LARGEST_JSON_KB

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
