"""Puts the web application together: a router for each thing that the settings want served."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fastapi import APIRouter, FastAPI

from generation_worker.config import Settings, describe
from generation_worker.db.access import KeyDesk, SessionDesk, TokenDesk
from generation_worker.db.bulk import ControlDesk
from generation_worker.db.connections import DeskConnections, open_desk_pool, read_only
from generation_worker.db.credits import CreditDesk
from generation_worker.db.insights import Insights
from generation_worker.db.jobs import JobDesk
from generation_worker.db.ledger import meaning
from generation_worker.db.query import Queries
from generation_worker.db.streams import StreamDesk
from generation_worker.db.webhooks import WebhookDesk
from generation_worker.events import Events
from generation_worker.ports import Images, Storage
from generation_worker.registrations import webhook_readers
from generation_worker.web.api import credits
from generation_worker.web.api.control import bulk_router, config_router, control_router, front_router
from generation_worker.web.api.fleet import Processed, fleet_router, health_router, metrics_router, worker_health_router
from generation_worker.web.api.images import images_router
from generation_worker.web.api.jobs import batches_router, jobs_router
from generation_worker.web.api.provider_webhooks import webhook_router
from generation_worker.web.api.stream_reader import StreamLimits, Streams
from generation_worker.web.api.streams import events_router
from generation_worker.web.api.webhooks import deliveries_router, endpoints_router
from generation_worker.web.app import create_app
from generation_worker.web.auth import Guard, KeyLimits
from generation_worker.web.pages.access import audit_router, keys_router
from generation_worker.web.pages.control import changing_router, control_pages, pausing_router
from generation_worker.web.pages.credits import Desks as UserDesks
from generation_worker.web.pages.credits import user_router, users_router
from generation_worker.web.pages.fleet import providers_router, workers_router
from generation_worker.web.pages.job import job_page_router
from generation_worker.web.pages.jobs import batch_page_router, failed_router, jobs_page_router, many_router
from generation_worker.web.pages.overview import overview_router
from generation_worker.web.pages.pictures import pictures_router
from generation_worker.web.pages.session import Door, answer_with_pages, entrance_routers
from generation_worker.web.pages.webhooks import endpoint_router, webhooks_router
from generation_worker.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from generation_worker.metrics import Metrics


class UploadBackend(NamedTuple):
    """Storage and image tools of uploads, separate from those of the worker: uploads must not slow down its jobs."""

    storage: Storage
    images: Images


KIB = 1024
MIB = 1024 * KIB
FLEET_SECONDS = 2.0
"""Longest time of one question for the fleet's figures."""


def build_app(
    stack: ExitStack,
    settings: Settings,
    supervisor: Supervisor,
    events: Events,
    metrics: Metrics | None = None,
    *,
    uploads: UploadBackend,
) -> FastAPI:
    """What it holds is closed with ``stack``."""
    desk = open_desk(stack, settings)
    if metrics:
        metrics.watch(supervisor.report, partial(fleet_questions, desk))
    guard = build_guard(settings, desk)
    routers = list(build_routers(settings, supervisor, events, metrics))
    door = Door(guard, SessionDesk(desk))
    if settings.enable_dashboard:
        routers += build_dashboard(settings, desk, door, uploads.storage, supervisor)
    streams = build_streams(stack, settings, desk, events) if settings.enable_api else None
    if streams is not None:
        routers += build_api(settings, desk, uploads, streams, supervisor, events)
    app = create_app(routers, guard, queries=Queries(desk))
    app.state.door = door
    if settings.enable_dashboard:
        answer_with_pages(app)
    if streams is not None:
        app.state.stopping.append(streams.close)
        if metrics:
            metrics.watch_streams(streams.__len__)
    return app


def build_routers(
    settings: Settings, supervisor: Supervisor, events: Events, metrics: Metrics | None
) -> Iterator[APIRouter]:
    """The routers that the settings want, by subject."""
    if settings.enable_health_check:
        yield health_router(supervisor.report)
    if metrics:
        yield metrics_router(metrics.scrape)
    if readers := webhook_readers(settings):
        yield webhook_router(readers, supervisor.inbox, events)


def build_streams(stack: ExitStack, settings: Settings, desk: DeskConnections, events: Events) -> Streams:
    """They look sooner when this process has done something itself."""
    limits = StreamLimits(settings.api_most_streams, settings.api_streams_per_key)
    streams = Streams(StreamDesk(desk), events, limits)
    stack.callback(events.subscribe(streams.hear))
    return streams


def build_api(
    settings: Settings,
    desk: DeskConnections,
    uploads: UploadBackend,
    streams: Streams,
    supervisor: Supervisor,
    events: Events,
) -> Iterator[APIRouter]:
    """The routers under /worker, by subject."""
    jobs = JobDesk(desk, private_urls=settings.fetch_allow_private)
    yield jobs_router(jobs, uploads.storage)
    yield batches_router(jobs)
    yield events_router(streams, StreamDesk(desk), jobs, uploads.storage)
    yield credits.router
    yield images_router(
        uploads.storage, uploads.images, most_bytes=settings.upload_max_mb * MIB, kept_for=settings.upload_retention
    )
    webhooks = WebhookDesk(desk, allow_private=settings.webhook_allow_private)
    yield deliveries_router(webhooks)
    yield endpoints_router(webhooks)
    control = ControlDesk(desk)
    yield control_router(control, supervisor.wake)
    yield front_router(control)
    yield bulk_router(control)
    yield config_router(control, partial(describe, settings))
    yield fleet_router(partial(fleet_questions, desk))
    yield worker_health_router(supervisor.report, Processed(events))


def build_dashboard(
    settings: Settings, desk: DeskConnections, door: Door, storage: Storage, supervisor: Supervisor
) -> Iterator[APIRouter]:
    """The pages for people, by subject. They ask the same desks as the routes under /worker."""
    ask = partial(fleet_questions, desk)
    jobs, control = JobDesk(desk), ControlDesk(desk)
    yield from entrance_routers(door)
    yield overview_router(ask)
    yield jobs_page_router(jobs, ask)
    yield job_page_router(jobs, control, ask)
    yield pictures_router(ask, storage)
    yield batch_page_router(jobs, ask)
    yield failed_router(ask)
    yield many_router(control)
    yield users_router(ask)
    yield user_router(UserDesks(ask, CreditDesk(desk), jobs, control))
    yield providers_router(ask)
    yield workers_router(ask, meaning)
    yield control_pages(control, partial(describe, settings))
    yield pausing_router(control, supervisor.wake)
    yield changing_router(control)
    yield audit_router(ask)
    webhooks = WebhookDesk(desk, allow_private=settings.webhook_allow_private)
    yield webhooks_router(ask, webhooks)
    yield endpoint_router(webhooks, webhooks)
    yield keys_router(ask, KeyDesk(desk))


@contextmanager
def fleet_questions(desk: DeskConnections) -> Generator[Insights]:
    """Who answers what the fleet's figures are made from."""
    with read_only(desk, seconds=FLEET_SECONDS) as lent:
        yield Insights(lent)


def build_guard(settings: Settings, desk: DeskConnections) -> Guard:
    limits = KeyLimits(settings.api_requests_per_minute, settings.api_most_waiting, settings.api_max_body_kb * KIB)
    return Guard(TokenDesk(desk), limits)


def open_desk(stack: ExitStack, settings: Settings) -> DeskConnections:
    """Connections of the API's own: however many people ask, the worker's are free for its work."""
    address = settings.require_database()
    pool = open_desk_pool(address.conninfo, prepare=not address.pooled)
    return DeskConnections(stack.enter_context(pool))
