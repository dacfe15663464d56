"""Builds a worker and its adapters from the settings, and runs it.

``run`` is the whole of it; the sections after it build the worker, its database connections, storage, images,
metrics and traces. Only this file and ``wiring_web`` know both the worker and the adapters.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from generation_worker import __version__
from generation_worker.config import ConfigurationError, DatabaseAddress, Settings
from generation_worker.db import ledger, migrations, protocol, query, signals
from generation_worker.db.connections import Limits, OwnConnection, open_pool
from generation_worker.domain.fleet import HIGHEST_CONCURRENCY
from generation_worker.domain.settlement import RetryPolicy
from generation_worker.events import Events
from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.connector import Connector
from generation_worker.fetch.fetcher import WebFetcher
from generation_worker.fetch.poster import WebPoster
from generation_worker.images.tools import ImageTools
from generation_worker.log import setup as log
from generation_worker.log.events import log_events
from generation_worker.ports import LimitedKey, Storage, Store
from generation_worker.registrations import REGISTRATIONS, build_providers, limited_keys, webhook_readers
from generation_worker.storage import disk, s3, s3_client
from generation_worker.worker import courier, maintenance, paid_call, worker
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.lease import BEATS_PER_LEASE, STATEMENTS_PER_BEAT
from generation_worker.worker.settings import Ending, WorkerOptions, overtime_for
from generation_worker.worker.signals import ProviderHints
from generation_worker.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from generation_worker.metrics import Metrics
    from generation_worker.traces.sender import Sender

EXIT_STATUS = {Ending.STOPPED: 0, Ending.EMPTY: 0, Ending.STUCK: 1, Ending.BROKEN: 1}
MIB = 1024 * 1024


def run(settings: Settings, *, until_empty: bool = False) -> int:
    """Run a worker until it is stopped; returns the exit status of the process.

    Raises ConfigurationError before any job is claimed if the settings or the database are not usable.
    """
    log.configure(settings.log_level, settings.log_format)
    log.hide_secrets(settings.secret_values())
    notices = list(settings.notices)
    sender = build_sender(settings, notices.append)
    events = Events()
    log_events(events, settings.log_level, traced=sender is not None)
    for notice in notices:
        events.emit("settings.notice", notice=notice)
    metrics = build_metrics(settings, events)
    with (
        traced(sender, events),
        assembled(settings, events) as supervisor,
        served(settings, supervisor, events, metrics),
        stopped_by_signals(supervisor),
    ):
        supervisor.start()
        ending = supervisor.run(until_empty=until_empty)
    return EXIT_STATUS[ending]


@contextmanager
def assembled(settings: Settings, events: Events) -> Generator[Supervisor]:
    """Build a worker with its adapters, warmed up and not started. Its resources are closed after the block."""
    address = settings.require_database()
    with ExitStack() as stack:
        check_database(address, events)
        images = build_images(settings)
        stack.callback(images.close)
        providers = build_providers(settings)
        storage = build_storage(settings)
        fetcher = build_fetcher(settings, events)
        for adapter in (images, storage, fetcher, *providers):
            adapter.warm_up()
        pool = build_pool(stack, address, settings.concurrency, events)
        store = build_store(pool, address)
        keys = paid_call.ProviderKeys(providers)
        hints = ProviderHints()
        attempt = Attempt(store, keys, storage, fetcher, images, events, settings.max_paid_calls, hints=hints)
        dependencies = worker.WorkerDependencies(
            store=store,
            heartbeat_store=build_heartbeat_store(stack, address, settings.lease_duration),
            signals=build_signals(settings),
            work=attempt.run,
            events=events,
            storage=storage,
            slow_tasks=[build_audit(settings, pool, store, events)],
            hints=hints,
            courier=build_courier(settings, store, events),
        )
        limited = limited_keys(settings, providers)
        yield Supervisor(worker_settings(settings, storage, keys.providers, limited), dependencies)


@contextmanager
def served(
    settings: Settings, supervisor: Supervisor, events: Events, metrics: Metrics | None = None
) -> Generator[None]:
    """Serve HTTP while the block runs, if the settings enable anything that is served."""
    if not (settings.serves_http or webhook_readers(settings)):
        yield
        return
    from generation_worker.web.app import WebServer  # noqa: PLC0415 - saves half a second in a worker without HTTP
    from generation_worker.wiring_web import UploadBackend, build_app  # noqa: PLC0415

    with ExitStack() as stack:
        images = build_images(settings)
        stack.callback(images.close)
        uploads = UploadBackend(build_storage(settings), images)
        app = build_app(stack, settings, supervisor, events, metrics, uploads=uploads)
        try:
            server = WebServer(app, host=settings.health_host, port=settings.port)
        except OSError as error:
            raise ConfigurationError(
                [f"PORT: {settings.port} cannot be opened ({error.strerror}); choose another"]
            ) from None
        stack.callback(server.stop)
        server.start()
        events.emit("http.serving", port=server.port, dashboard=_dashboard_url(settings, server.port))
        yield


def _dashboard_url(settings: Settings, port: int) -> str | None:
    """The dashboard's address on this machine, if it is served. From elsewhere it may have another one."""
    if not settings.enable_dashboard:
        return None
    host = settings.health_host or "localhost"
    return f"http://[{host}]:{port}/dashboard" if ":" in host else f"http://{host}:{port}/dashboard"


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Generator[None]:
    """The first SIGTERM or SIGINT drains the worker, the second one releases its jobs, the third ends the process."""
    received = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 2:
            os._exit(1)
        supervisor.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# worker


def worker_settings(
    settings: Settings, storage: Storage, providers: tuple[str, ...], keys: tuple[LimitedKey, ...] = ()
) -> WorkerOptions:
    return WorkerOptions(
        id=settings.worker_id or f"{socket.gethostname()}-{secrets.token_hex(3)}",
        version=__version__,
        concurrency=settings.concurrency,
        providers=providers,
        keys=keys,
        poll_interval=settings.poll_interval,
        idle_poll_interval=settings.idle_poll_interval,
        lease=settings.lease_duration,
        timeout=settings.job_timeout,
        overtime=overtime_for(storage.longest, settings.image_timeout),
        grace=settings.shutdown_grace,
        max_attempts=settings.max_attempts,
        max_stuck=settings.max_stuck_threads,
        retention=settings.retention,
        keep_uploads=settings.upload_retention,
        cleanup_interval=settings.cleanup_interval,
        policy=RetryPolicy(
            initial_delay=settings.retry_initial_delay,
            max_delay=settings.retry_max_delay,
            factor=settings.retry_backoff_factor,
            jitter=settings.retry_jitter,
            max_crashes=settings.max_crashes,
            max_waits=settings.max_rate_limit_waits,
        ),
    )


AUDIT_SECONDS = 15.0
"""The longest time to check one invariant of the books. The check keeps old row versions for as long."""


def build_audit(settings: Settings, pool: ConnectionPool[Any], store: Store, events: Events) -> maintenance.Task:
    audit = partial(
        ledger.count_violations,
        query.Queries(pool, schema=settings.database_schema),
        max_paid_calls=settings.max_paid_calls,
        seconds=AUDIT_SECONDS,
    )
    return maintenance.Task(
        maintenance.AUDIT_TASK, settings.cleanup_interval, partial(maintenance.audit_ledger, store, audit, events)
    )


def build_courier(settings: Settings, store: Store, events: Events) -> courier.Courier:
    poster = WebPoster(Connector(allow_private=settings.webhook_allow_private), timeout=settings.webhook_timeout)
    return courier.Courier(store, poster, events)


# database


def check_database(address: DatabaseAddress, events: Events) -> None:
    """Wait until the database answers, and check that it is usable. Raises ConfigurationError."""

    def waiting(times: int, error: str) -> None:
        events.emit("database.unavailable", database=address.label, times=times, error=error)

    if problems := migrations.problems_of(address.conninfo, address.label, schema=address.schema, waiting=waiting):
        raise ConfigurationError([f"DATABASE_URL: {problem}" for problem in problems])


def build_pool(stack: ExitStack, address: DatabaseAddress, concurrency: int, events: Events) -> ConnectionPool[Any]:
    """A pool of a few connections serves many threads, because attempts hold none while they wait for a provider.

    It grows when the concurrency does.
    """

    def size(threads: int) -> int:
        return max(2, address.pool_size or min(4 + threads // 4, 20))

    def follow(event: str, fields: Mapping[str, Any]) -> None:
        if event == worker.FLEET_FOLLOWED:
            pool.resize(min_size=1, max_size=size(fields["concurrency"]))

    session, _ = _limits(address, Limits())
    pool = open_pool(
        address.conninfo,
        prepare=not address.pooled,
        size=size(concurrency),
        timeout=address.pool_timeout or 10.0,
        limits=session,
    )
    stack.enter_context(pool)
    stack.callback(events.subscribe(follow))
    return pool


def build_store(pool: ConnectionPool[Any], address: DatabaseAddress) -> protocol.PostgresStore:
    _, statement = _limits(address, Limits())
    return protocol.PostgresStore(pool, schema=address.schema, limits=statement)


def build_heartbeat_store(stack: ExitStack, address: DatabaseAddress, lease: float) -> protocol.PostgresStore:
    """The heartbeat's own connection, with limits by which each beat ends before the next one."""
    beat = lease / BEATS_PER_LEASE
    session, statement = _limits(address, Limits.sharing(beat, statements=STATEMENTS_PER_BEAT))
    own = OwnConnection(address.conninfo, prepare=not address.pooled, limits=session)
    stack.callback(own.close)
    return protocol.PostgresStore(own, schema=address.schema, limits=statement)


def build_signals(settings: Settings) -> signals.PostgresSignals | None:
    """LISTEN needs a direct address; without one the worker polls."""
    direct = settings.direct_database()
    return signals.PostgresSignals(direct.conninfo, schema=direct.schema) if settings.listen_notify and direct else None


def _limits(address: DatabaseAddress, limits: Limits) -> tuple[Limits | None, Limits | None]:
    """The limits for the session and for each statement. The sessions of a pooler are shared, so none are set there."""
    return (None, limits) if address.pooled else (limits, None)


# storage


def build_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    connections = HIGHEST_CONCURRENCY + 4  # as many as threads there may be, and a few for links and maintenance
    timeouts = s3_client.S3Timeouts(read=settings.storage_timeout)
    match settings.storage:
        case "s3":
            return s3.S3Storage(_s3_bucket(settings), connections=connections, timeouts=timeouts)
        case "r2":
            public = settings.r2_public_url
            return s3.S3Storage(
                _r2_bucket(settings), name="r2", public_url=public, connections=connections, timeouts=timeouts
            )
        case "disk":
            return disk.DiskStorage(settings.storage_dir)


def _s3_bucket(settings: Settings) -> s3_client.Bucket:
    return s3_client.Bucket(
        name=settings.s3_bucket or "",
        access_key_id=_plain(settings.aws_access_key_id),
        secret_access_key=_plain(settings.aws_secret_access_key),
        region=settings.aws_region,
        endpoint_url=settings.s3_endpoint_url,
    )


def _r2_bucket(settings: Settings) -> s3_client.Bucket:
    return s3_client.r2_bucket(
        settings.r2_bucket or "",
        account_id=settings.r2_account_id or "",
        access_key_id=_plain(settings.r2_access_key_id),
        secret_access_key=_plain(settings.r2_secret_access_key),
    )


def _plain(secret: SecretStr | None) -> str:
    """``load_settings`` has checked that all settings of a bucket are set."""
    return secret.get_secret_value() if secret else ""


# images and inputs


def build_images(settings: Settings) -> ImageTools:
    return ImageTools(
        settings.image_children,
        max_pixels=settings.image_max_pixels,
        memory=settings.image_memory_mb * MIB,
        seconds=settings.image_timeout,
    )


def build_fetcher(settings: Settings, events: Events) -> WebFetcher:
    """Raises ConfigurationError if FETCH_CACHE_DIR is set and cannot be used."""
    return WebFetcher(
        Connector(allow_private=settings.fetch_allow_private),
        timeout=settings.fetch_timeout,
        most_bytes=settings.fetch_max_mb * MIB,
        cache=_input_cache(settings, events) if settings.fetch_cache_mb else None,
    )


def _input_cache(settings: Settings, events: Events) -> DiskCache | None:
    """A cache in a directory of this user. Without a usable directory, each job fetches its own inputs."""
    try:
        parent = settings.fetch_cache_dir or Path(tempfile.gettempdir())
        cache = DiskCache(parent / f"generation-worker-inputs-{os.getuid()}", most_bytes=settings.fetch_cache_mb * MIB)
        cache.prepare()
    except OSError as error:
        problem = f"FETCH_CACHE_DIR: inputs cannot be kept there ({error.strerror}); name another directory"
        if settings.fetch_cache_dir is not None:
            raise ConfigurationError([f"{problem}, or set FETCH_CACHE_MB=0"]) from None
        events.emit("settings.notice", notice=f"{problem}. Until then each job fetches its own")
        return None
    return cache


# metrics and traces


def build_metrics(settings: Settings, events: Events) -> Metrics | None:
    """Metrics that count from now on; None if the settings disable them."""
    if not settings.enable_metrics:
        return None
    from generation_worker.metrics import Metrics  # noqa: PLC0415 - saves 0.1 seconds in a worker without metrics

    return Metrics(events, [each.name for each in REGISTRATIONS])


TRACES_FLUSH_TIMEOUT = 5.0
"""The longest time, in seconds, that the end of the process waits for a collector."""


def build_sender(settings: Settings, notice: Callable[[str], None]) -> Sender | None:
    """None if the settings name no collector, or if spans cannot be sent, which is a notice and no reason to stop."""
    if not settings.sends_traces:
        return None
    setting = next(
        name for name in ("otel_traces_endpoint", "otel_endpoint", "otel_traces_exporter") if settings.is_set(name)
    )
    variable = settings.origins[setting].name
    try:
        from generation_worker.traces.sender import Sender  # noqa: PLC0415 - an extra, and slow to import

        return Sender(
            endpoint=settings.traces_address,
            headers=settings.traces_headers,
            service=settings.otel_service_name,
            version=__version__,
            worker=settings.worker_id,
        )
    except ImportError:
        notice(
            f"{variable}: no traces are sent, because OpenTelemetry is not installed: "
            "pip install 'generation-worker[otel]', or set OTEL_TRACES_EXPORTER=none"
        )
    except Exception as error:  # noqa: BLE001 - an error in other OTEL_ variables must not stop jobs
        notice(f"{variable}: no traces are sent, because the environment's OTEL_ variables cannot be used: {error}")
    return None


@contextmanager
def traced(sender: Sender | None, events: Events) -> Generator[None]:
    """Turn events into spans while the block runs, and send the last ones at its end."""
    if sender is None:
        yield
        return
    from generation_worker.traces.spans import span_events  # noqa: PLC0415 - as above

    span_events(events, sender.spans)
    try:
        yield
    finally:
        if not sender.close(within=TRACES_FLUSH_TIMEOUT):
            events.emit("traces.unsent", seconds=TRACES_FLUSH_TIMEOUT)
