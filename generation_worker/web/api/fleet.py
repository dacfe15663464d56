"""The fleet over HTTP: health of this process, metrics, and the state, figures and workers of the whole fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.db import fleet, jobs, query
from generation_worker.domain.fleet import EVERYTHING, What, extent_of
from generation_worker.events import Events
from generation_worker.web.app import PROBLEM, Database, part
from generation_worker.web.auth import Caller, needs, open_to_all
from generation_worker.web.problems import MEDIA_TYPE, documented

SAMPLE = 10_000
"""How many of the latest final jobs are read for a time span; with more of them its figures are scaled up."""
MOST_WORKERS = 1000
MOST_GATES = 100
PROCESSED = ("completed", "failed", "cancelled")
"""Statuses after which a job is not worked on again."""

Report = Callable[[], dict[str, Any]]
"""Returns the state of this process, as ``Supervisor.report``."""
Scrape = Callable[..., tuple[bytes, str]]
"""Returns the metrics and their content type, as ``Metrics.scrape``."""


class RowModel(BaseModel):
    """A response that is filled from a row of the database."""

    model_config = ConfigDict(from_attributes=True)


class HealthPause(BaseModel):
    """A pause of everything, of a provider or of a kind."""

    what: str
    since: str
    by: str | None
    reason: str | None


class SilencedEndpoint(BaseModel):
    """A webhook endpoint to which nothing is sent until it is enabled."""

    id: str
    since: str
    reason: str


class Health(BaseModel):
    """The worker's state. ``problems`` names in words what is wrong."""

    status: Literal["healthy", "unhealthy"]
    worker: Literal["starting", "running", "paused", "draining"]
    problems: list[str]
    ready: bool
    live: bool
    id: str
    version: str
    concurrency: int
    busy: int
    stuck: int
    unwritten: int
    listening: bool
    paused: list[HealthPause]
    disabled_endpoints: list[SilencedEndpoint]
    uptime_seconds: float


class PauseView(BaseModel):
    """An extent of which no worker starts a job."""

    what: What
    name: str | None = Field(description="Of the provider, kind or user; null for everything.")
    since: datetime
    by: str | None
    reason: str | None

    @classmethod
    def of(cls, pause: fleet.Pause) -> PauseView:
        extent = extent_of(pause.name)
        return cls(what=extent.what, name=extent.name or None, since=pause.since, by=pause.by, reason=pause.reason)


class EndedJobs(RowModel):
    """The jobs of the whole fleet that ended within a time span."""

    completed: int
    failed: int
    cancelled: int
    per_minute: float = Field(description="Completed jobs.")
    mean_seconds: float | None = Field(description="From the first start of a job to its image.")
    credits_charged: int = Field(description="For completed jobs.")
    refunds: int
    credits_refunded: int
    exact: bool = Field(description="False: scaled up from the latest ones.")


class Stats(BaseModel):
    """The figures of `/metrics` for the whole fleet, under the same names."""

    jobs_total: int = Field(description="Jobs in the table, in any state.")
    jobs_pending: int
    jobs_scheduled: int
    jobs_rate_limited: int
    jobs_processing: int
    jobs_completed: int
    jobs_failed: int
    jobs_cancelled: int
    jobs_exact: bool = Field(description="False: a number beyond 10,000 is an estimate.")
    active_workers: int = Field(description="With a heartbeat within two minutes.")
    average_job_time: float | None = Field(description="Seconds, of the jobs completed within the last hour.")
    success_rate: float | None = Field(description="From 0 to 1, of the jobs that ended within the last hour.")
    hour: EndedJobs
    day: EndedJobs


class Front(RowModel):
    """The job that has waited longest for one provider."""

    provider: str
    id: UUID
    seconds: float = Field(description="Since it is due.")
    workers: int = Field(description="Living workers that serve the provider; with 0 none of its jobs starts.")


class GateView(RowModel):
    """A key of a provider, for the whole fleet."""

    key_label: str
    provider: str
    calls_per_minute: int
    used: int = Field(description="Calls of the last minute.")
    state: str = Field(description="ok, limited, open or probing.")
    reason: str | None
    seconds: float = Field(description="Until the next try.")
    workers: int


class FleetStatus(BaseModel):
    """The state of the fleet. ``stopped``: no worker has sent a heartbeat for two minutes."""

    status: Literal["running", "paused", "stopped"]
    active_workers: int
    busy: int = Field(description="Jobs that the living workers are processing.")
    concurrency: int = Field(description="Jobs that they can process at once.")
    paused: list[PauseView]
    waiting: list[Front]
    gates: list[GateView]
    stats: Stats


class WorkerView(RowModel):
    """One process. It is listed for a day after its last heartbeat."""

    id: str
    state: Literal["idle", "busy", "asleep", "stuck", "silent"]
    busy: int
    stuck: int
    concurrency: int
    providers: list[str]
    version: str
    started_at: datetime
    seen_at: datetime
    seen_seconds: float


class WorkerList(BaseModel):
    workers: list[WorkerView]


class WorkerHealth(BaseModel):
    """The state of the process that answers."""

    worker_id: str
    status: Literal["healthy", "unhealthy"]
    jobs_processed: int = Field(description="Jobs that it has ended since its start.")
    uptime: int = Field(description="Seconds.")
    problems: list[str] = Field(description="What is wrong, in words.")


class ProcessedJobs:
    """Counts the jobs that this process ends."""

    def __init__(self, events: Events) -> None:
        self.count = 0
        events.subscribe(self._observe)

    def _observe(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "attempt.settled" and fields["status"] in PROCESSED:
            self.count += 1  # by one thread only, the settler's


ReportPart = Annotated[Report, part("report")]
FleetReader = Annotated[Caller, needs("read", whole_fleet=True)]

# Health, for people and platforms. No route queries the database, so that a serverless one may sleep. The routes are
# coroutines: they wait for nothing, need no thread, and answer even while all threads wait.

health_router = APIRouter(tags=["health"])


@health_router.get("/health", responses={503: {"model": Health}})
@open_to_all
async def health(response: Response, report: ReportPart) -> Health:
    """The worker's state; 503 with what is wrong."""
    return _health(response, report, lambda health: health.status == "healthy")


@health_router.get("/health/ready", responses={503: {"model": Health}})
@open_to_all
async def ready(response: Response, report: ReportPart) -> Health:
    """200 while the worker takes jobs; 503 while it starts, drains or cannot reach the database."""
    return _health(response, report, lambda health: health.ready)


@health_router.get("/health/live", responses={503: {"model": Health}})
@open_to_all
async def live(response: Response, report: ReportPart) -> Health:
    """200 unless only a restart helps; a database that is away does not count."""
    return _health(response, report, lambda health: health.live)


def _health(response: Response, report: Report, good: Callable[[Health], bool]) -> Health:
    found = Health.model_validate(report())
    response.status_code = 200 if good(found) else 503
    return found


# Metrics, for Prometheus. The route names no user, and must work while keys cannot be looked up: it needs none.

metrics_router = APIRouter(tags=["metrics"])


@metrics_router.get("/metrics", response_class=Response)
@open_to_all
def metrics(
    scrape: Annotated[Scrape, part("scrape")],
    accept: Annotated[str, Header()] = "",
    fleet: Annotated[
        bool, Query(description="false leaves out the metrics that need the database, so that it may sleep.")
    ] = True,
) -> Response:
    """Prometheus' metrics: those of this process, and of the whole fleet."""
    body, content_type = scrape(accept, fleet=fleet)
    return Response(body, headers={"Content-Type": content_type})


# The whole fleet, from the database: any process answers the same.

router = APIRouter(prefix="/worker", tags=["fleet"])
READS = documented(401, 403, 429, 503)
UNHEALTHY: dict[str, Any] = {
    "model": WorkerHealth,
    "description": "The process is unhealthy, or the key cannot be looked up.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM}}},
}


@router.get("/status", responses=READS)
def fleet_status(_: FleetReader, queries: Database) -> FleetStatus:
    """The state of the fleet: workers, pauses, waiting jobs, provider keys, figures."""
    with queries.read_only() as questions:
        return read_status(questions)


@router.get("/stats", responses=READS)
def fleet_stats(_: FleetReader, queries: Database) -> Stats:
    """The fleet's figures."""
    with queries.read_only() as questions:
        return _read_stats(questions, active_workers=len(_list_living(questions)))


@router.get("/workers", responses=READS)
def list_workers(_: FleetReader, queries: Database) -> WorkerList:
    """The workers of the last day, at most 1,000."""
    with queries.read_only() as questions:
        found = fleet.list_workers(questions, limit=MOST_WORKERS)
    return WorkerList(workers=[WorkerView.model_validate(worker) for worker in found])


@router.get("/health", responses={**documented(401, 403, 429), 503: UNHEALTHY})
def worker_health(
    response: Response,
    _: Annotated[Caller, needs("read")],
    report: ReportPart,
    processed: Annotated[ProcessedJobs, part("processed_jobs")],
) -> WorkerHealth:
    """The state of the process that answers; 503 with what is wrong. `/health` has more, and needs no key."""
    found = report()
    response.status_code = 200 if found["status"] == "healthy" else 503
    return WorkerHealth(
        worker_id=found["id"],
        status=found["status"],
        jobs_processed=processed.count,
        uptime=int(found["uptime_seconds"]),
        problems=found["problems"],
    )


def read_status(queries: query.Queries) -> FleetStatus:
    """The state of the fleet now."""
    living = _list_living(queries)
    pauses = fleet.list_pauses(queries)
    everything = any(pause.name == EVERYTHING.setting for pause in pauses)
    return FleetStatus(
        status="stopped" if not living else "paused" if everything else "running",
        active_workers=len(living),
        busy=sum(worker.busy for worker in living),
        concurrency=sum(worker.concurrency for worker in living),
        paused=[PauseView.of(pause) for pause in pauses],
        waiting=[Front.model_validate(lane) for lane in fleet.list_lane_fronts(queries)],
        gates=[GateView.model_validate(gate) for gate in fleet.list_gates(queries, limit=MOST_GATES)],
        stats=_read_stats(queries, active_workers=len(living)),
    )


def _list_living(queries: query.Queries) -> list[fleet.WorkerProcess]:
    return [worker for worker in fleet.list_workers(queries, limit=MOST_WORKERS) if worker.state != "silent"]


def _read_stats(queries: query.Queries, *, active_workers: int) -> Stats:
    counts = fleet.count_jobs_by_status(queries)
    spans = {span.span: span for span in jobs.throughput(queries, cap=SAMPLE)}
    hour = spans["hour"]
    ended = hour.completed + hour.failed
    return Stats(
        **_counts_by_name(counts),
        jobs_total=sum(count.jobs for count in counts),
        jobs_exact=all(count.exact for count in counts),
        active_workers=active_workers,
        average_job_time=hour.mean_seconds,
        success_rate=hour.completed / ended if ended else None,
        hour=EndedJobs.model_validate(hour),
        day=EndedJobs.model_validate(spans["day"]),
    )


def _counts_by_name(counts: Sequence[jobs.JobCount]) -> dict[str, Any]:
    return {f"jobs_{count.status}": count.jobs for count in counts}
