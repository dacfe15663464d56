"""Puts the web application together: the routers that the settings want, and the parts that their routes work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import APIRouter, FastAPI

from generation_worker.config import Settings, describe
from generation_worker.db.connections import DeskConnections, open_desk_pool
from generation_worker.db.query import Queries
from generation_worker.events import Events
from generation_worker.ports import Images, Storage
from generation_worker.registrations import webhook_readers
from generation_worker.web.api import control, credits, fleet, images, jobs, provider_webhooks, streams, webhooks
from generation_worker.web.api.stream_reader import StreamLimits, Streams
from generation_worker.web.app import create_app
from generation_worker.web.auth import Guard, KeyLimits
from generation_worker.web.pages import access as access_pages
from generation_worker.web.pages import control as control_pages
from generation_worker.web.pages import credits as credit_pages
from generation_worker.web.pages import fleet as fleet_pages
from generation_worker.web.pages import job as job_page
from generation_worker.web.pages import jobs as job_pages
from generation_worker.web.pages import overview, pictures, render, session
from generation_worker.web.pages import webhooks as webhook_pages
from generation_worker.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from generation_worker.metrics import Metrics

KIB = 1024
MIB = 1024 * KIB


class UploadBackend(NamedTuple):
    """Stores and checks uploaded images. Not the worker's own: however many people upload, its jobs continue."""

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
    """The application with everything that the settings enable. ``stack`` closes what it opens."""
    queries = Queries(open_connections(stack, settings), schema=settings.database_schema)
    guard = build_guard(settings, queries)
    routers = list(list_routers(settings, metrics))
    parts = build_parts(settings, queries, supervisor, events, uploads)
    parts["sessions"] = session.SessionGuard(guard, queries)
    open_streams = build_streams(stack, settings, queries, events) if settings.enable_api else None
    if metrics:
        metrics.watch(supervisor.report, queries)
        parts["scrape"] = metrics.scrape
    app = create_app(routers, guard, **parts, streams=open_streams)
    if settings.enable_dashboard:
        session.answer_with_pages(app)
    if open_streams is not None:
        app.state.stopping.append(open_streams.close)
        if metrics:
            metrics.watch_streams(open_streams.__len__)
    return app


def list_routers(settings: Settings, metrics: Metrics | None) -> Iterator[APIRouter]:
    """The routers that the settings enable."""
    if settings.enable_health_check:
        yield fleet.health_router
    if metrics:
        yield fleet.metrics_router
    if webhook_readers(settings):
        yield provider_webhooks.router
    if settings.enable_dashboard:
        yield from DASHBOARD
    if settings.enable_api:
        yield from API


API = (
    jobs.router,
    streams.router,
    credits.router,
    images.router,
    webhooks.router,
    control.router,
    control.jobs_router,
    fleet.router,
)
DASHBOARD = (
    render.router,
    session.router,
    session.redirects,
    overview.router,
    job_pages.router,
    job_page.router,
    pictures.router,
    credit_pages.router,
    fleet_pages.router,
    control_pages.router,
    access_pages.router,
    webhook_pages.router,
)


def build_parts(
    settings: Settings, queries: Queries, supervisor: Supervisor, events: Events, uploads: UploadBackend
) -> dict[str, Any]:
    """What routes work with, by the names under which they declare it (``web.app.part``)."""
    receivers = {
        provider: provider_webhooks.WebhookReceiver(provider, reader, supervisor.inbox, events)
        for provider, reader in webhook_readers(settings).items()
    }
    return {
        "queries": queries,
        "storage": uploads.storage,
        "uploads": images.Uploads(
            uploads.storage,
            uploads.images,
            most_bytes=settings.upload_max_mb * MIB,
            retention=settings.upload_retention,
        ),
        "pictures": pictures.PictureReader(uploads.storage),
        "lane_paces": jobs.LanePaces(),
        "fetch_allow_private": settings.fetch_allow_private,
        "webhook_allow_private": settings.webhook_allow_private,
        "webhook_receivers": receivers,
        "report": supervisor.report,
        "wake": supervisor.wake,
        "processed_jobs": fleet.ProcessedJobs(events),
        "describe_settings": partial(describe, settings),
    }


def build_streams(stack: ExitStack, settings: Settings, queries: Queries, events: Events) -> Streams:
    """The event streams of this process. They read sooner after this process has changed a job."""
    open_streams = Streams(queries, events, StreamLimits(settings.api_most_streams, settings.api_streams_per_key))
    stack.callback(events.subscribe(open_streams.on_event))
    return open_streams


def build_guard(settings: Settings, queries: Queries) -> Guard:
    limits = KeyLimits(settings.api_requests_per_minute, settings.api_most_waiting, settings.api_max_body_kb * KIB)
    return Guard(queries, limits)


def open_connections(stack: ExitStack, settings: Settings) -> DeskConnections:
    """Connections of the API's own: however many requests arrive, the worker's are free for its work."""
    address = settings.require_database()
    pool = open_desk_pool(address.conninfo, prepare=not address.pooled)
    return DeskConnections(stack.enter_context(pool))
