"""Puts the web application together: the routers that the settings enable, and what their routes work with."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fastapi import APIRouter, FastAPI

from generation_worker.config import Settings, describe
from generation_worker.db.connections import ApiConnections, open_api_pool
from generation_worker.db.query import Queries
from generation_worker.events import Events
from generation_worker.ports import Images, Storage
from generation_worker.registrations import webhook_readers
from generation_worker.web.api import control, credits, fleet, images, jobs, provider_webhooks, streams, webhooks
from generation_worker.web.api.stream_reader import StreamLimits, Streams
from generation_worker.web.app import create_app
from generation_worker.web.auth import Guard, KeyLimits
from generation_worker.web.pages import (
    access as access_pages,
    control as control_pages,
    credits as credit_pages,
    fleet as fleet_pages,
    job as job_pages,
    jobs as jobs_pages,
    overview,
    pictures,
    render,
    session,
    webhooks as webhook_pages,
)
from generation_worker.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from generation_worker.metrics import Metrics

KIB = 1024
MIB = 1024 * KIB
API = [
    jobs.router,
    control.jobs_router,
    streams.router,
    credits.router,
    images.router,
    webhooks.router,
    control.router,
    fleet.router,
]
"""The routes under /worker."""
DASHBOARD = [
    render.router,
    session.router,
    session.redirects,
    overview.router,
    jobs_pages.router,
    job_pages.router,
    pictures.router,
    credit_pages.router,
    fleet_pages.router,
    control_pages.router,
    access_pages.router,
    webhook_pages.router,
]
"""The pages for people."""


class UploadBackend(NamedTuple):
    """Stores and checks uploaded images, apart from the worker's own: uploads do not slow its jobs down."""

    storage: Storage
    images: Images


def build_app(
    stack: ExitStack,
    settings: Settings,
    supervisor: Supervisor,
    events: Events,
    metrics: Metrics | None = None,
    *,
    uploads: UploadBackend,
) -> FastAPI:
    """The application. What it opens is closed with ``stack``."""
    queries = _open_queries(stack, settings)
    guard = Guard(queries, _key_limits(settings))
    open_streams = Streams(queries, events, StreamLimits(settings.api_most_streams, settings.api_streams_per_key))
    readers = webhook_readers(settings)
    app = create_app(
        _list_routers(settings, metrics=metrics is not None, notices=bool(readers)),
        guard,
        queries=queries,
        storage=uploads.storage,
        streams=open_streams,
        sessions=session.SessionGuard(guard, queries),
        uploads=images.Uploads(
            uploads.storage,
            uploads.images,
            most_bytes=settings.upload_max_mb * MIB,
            retention=settings.upload_retention,
        ),
        pictures=pictures.PictureReader(uploads.storage),
        lane_paces=jobs.LanePaces(),
        fetch_allow_private=settings.fetch_allow_private,
        webhook_allow_private=settings.webhook_allow_private,
        webhook_receivers={
            provider: provider_webhooks.WebhookReceiver(provider, reader, supervisor.inbox, events)
            for provider, reader in readers.items()
        },
        processed_jobs=fleet.ProcessedJobs(events),
        report=supervisor.report,
        wake=supervisor.wake,
        describe_settings=partial(describe, settings),
        scrape=metrics and metrics.scrape,
    )
    if settings.enable_dashboard:
        session.answer_with_pages(app)
    if settings.enable_api:
        stack.callback(events.subscribe(open_streams.on_event))  # so that they read at once what this process changed
        app.state.stopping.append(open_streams.close)
    if metrics:
        metrics.watch(supervisor.report, queries)
        if settings.enable_api:
            metrics.watch_streams(open_streams.__len__)
    return app


def _list_routers(settings: Settings, *, metrics: bool, notices: bool) -> list[APIRouter]:
    enabled = [
        (settings.enable_health_check, [fleet.health_router]),
        (metrics, [fleet.metrics_router]),
        (notices, [provider_webhooks.router]),
        (settings.enable_dashboard, DASHBOARD),
        (settings.enable_api, API),
    ]
    return [router for wanted, routers in enabled if wanted for router in routers]


def _open_queries(stack: ExitStack, settings: Settings) -> Queries:
    """On connections of the application's own, so that requests do not take those of the worker."""
    address = settings.require_database()
    pool = open_api_pool(address.conninfo, prepare=not address.pooled)
    return Queries(ApiConnections(stack.enter_context(pool)), schema=address.schema)


def _key_limits(settings: Settings) -> KeyLimits:
    return KeyLimits(settings.api_requests_per_minute, settings.api_most_waiting, settings.api_max_body_kb * KIB)
