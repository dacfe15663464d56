"""Puts a worker together from the settings. Only here, and in ``wiring_*``, are both it and the adapters known."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from generation_worker import __version__, log
from generation_worker.config import ConfigurationError, Settings
from generation_worker.domain.retry import RetryPolicy
from generation_worker.events import Events
from generation_worker.log.events import log_events
from generation_worker.ports import Key, Storage
from generation_worker.registrations import REGISTRATIONS, build_providers, limited_keys, webhook_readers
from generation_worker.wiring_database import (
    build_audit,
    build_courier,
    build_heartbeat_store,
    build_pool,
    build_signals,
    build_store,
    check_database,
)
from generation_worker.wiring_images import build_fetcher, build_images
from generation_worker.wiring_storage import build_storage
from generation_worker.wiring_traces import build_sender, traced
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.equipment import Equipment
from generation_worker.worker.keyring import KeyRing
from generation_worker.worker.notices import Notices
from generation_worker.worker.settings import Ending, WorkerSettings, overtime_for
from generation_worker.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from generation_worker.metrics import Metrics

EXIT_STATUS = {Ending.STOPPED: 0, Ending.EMPTY: 0, Ending.STUCK: 1, Ending.BROKEN: 1}


def run(settings: Settings, *, until_empty: bool = False) -> int:
    """Run a worker until it is told to stop; the process's exit status.

    Raises ConfigurationError before anything is claimed if the settings or the database do not allow it.
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
    """A worker with its adapters, warmed up, not yet started; what it holds is closed at the end."""
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
        keys = KeyRing(providers)
        notices = Notices()
        attempt = Attempt(store, keys, storage, fetcher, images, events, settings.max_paid_calls, notices=notices)
        equipment = Equipment(
            store=store,
            heartbeat_store=build_heartbeat_store(stack, address, settings.lease_duration),
            signals=build_signals(settings),
            work=attempt.run,
            events=events,
            storage=storage,
            chores=[build_audit(settings, pool, store, events)],
            notices=notices,
            courier=build_courier(settings, pool, address, events),
        )
        limited = limited_keys(settings, providers)
        yield Supervisor(worker_settings(settings, storage, keys.providers, limited), equipment)


@contextmanager
def served(
    settings: Settings, supervisor: Supervisor, events: Events, metrics: Metrics | None = None
) -> Generator[None]:
    """What the settings want served over HTTP, while the block runs."""
    if not (settings.serves_http or webhook_readers(settings)):
        yield
        return
    from generation_worker.web.server import WebServer  # noqa: PLC0415 - half a second that a worker without it saves
    from generation_worker.wiring_web import Keeping, build_app  # noqa: PLC0415

    with ExitStack() as stack:
        images = build_images(settings)
        stack.callback(images.close)
        keeping = Keeping(build_storage(settings), images)
        app = build_app(stack, settings, supervisor, events, metrics, keeping=keeping)
        try:
            server = WebServer(app, host=settings.health_host, port=settings.port)
        except OSError as error:
            raise ConfigurationError(
                [f"PORT: {settings.port} cannot be opened ({error.strerror}); choose another"]
            ) from None
        stack.callback(server.stop)
        server.start()
        events.emit("http.serving", port=server.port, dashboard=_dashboard(settings, server.port))
        yield


def _dashboard(settings: Settings, port: int) -> str | None:
    """Its address as this machine knows it, if it is served; what leads to it from elsewhere knows another."""
    if not settings.enable_dashboard:
        return None
    host = settings.health_host or "localhost"
    return f"http://[{host}]:{port}/dashboard" if ":" in host else f"http://{host}:{port}/dashboard"


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Generator[None]:
    """SIGTERM or SIGINT drains the worker; the second one ends it at once, the third without a word."""
    told = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told += 1
        if told > 2:
            os._exit(1)
        supervisor.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build_metrics(settings: Settings, events: Events) -> Metrics | None:
    """They count from here on. None if nobody may ask for them."""
    if not settings.enable_metrics:
        return None
    from generation_worker.metrics import Metrics  # noqa: PLC0415 - a tenth of a second that a worker without it saves

    return Metrics(events, [each.name for each in REGISTRATIONS])


def worker_settings(
    settings: Settings, storage: Storage, providers: tuple[str, ...], keys: tuple[Key, ...] = ()
) -> WorkerSettings:
    return WorkerSettings(
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
