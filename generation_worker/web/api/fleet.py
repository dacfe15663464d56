"""The whole fleet over HTTP: how it does, what it has done, and who works. Asked of the database, by any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, TypeVar
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.fleet import EVERYTHING, What, extent_of
from generation_worker.domain.job import Status
from generation_worker.events import Events
from generation_worker.web.app import PROBLEM
from generation_worker.web.auth import Caller, needs, open_to_all
from generation_worker.web.problems import MEDIA_TYPE, documented

# Health for people and platforms. No route asks the database, so that a serverless one may sleep.
#
# The routes are coroutines: they wait for nothing, so they need no thread, and answer while all threads wait.


Report = Callable[[], dict[str, Any]]


class HealthPause(BaseModel):
    """What nobody starts: everything, a provider or a kind."""

    what: str
    since: str
    by: str | None
    reason: str | None


class DisabledEndpoint(BaseModel):
    """An endpoint of the app's that is told nothing any more until somebody enables it."""

    id: str
    since: str
    reason: str


class Health(BaseModel):
    """How the worker is. ``problems`` says what is wrong, in words."""

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
    disabled_endpoints: list[DisabledEndpoint]
    uptime_seconds: float


def health_router(report: Report) -> APIRouter:
    """``GET /health``, ``/health/ready`` (may take jobs) and ``/health/live`` (restart me if not 200)."""
    router = APIRouter(tags=["health"])

    def answer(response: Response, good: Callable[[Health], bool]) -> Health:
        health = Health.model_validate(report())
        response.status_code = 200 if good(health) else 503
        return health

    @router.get("/health", responses={503: {"model": Health}})
    @open_to_all
    async def health(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """The worker's state; 503 with what is wrong."""
        return answer(response, lambda health: health.status == "healthy")

    @router.get("/health/ready", responses={503: {"model": Health}})
    @open_to_all
    async def ready(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """200 while the worker takes jobs; 503 while it starts, drains or cannot reach the database."""
        return answer(response, lambda health: health.ready)

    @router.get("/health/live", responses={503: {"model": Health}})
    @open_to_all
    async def live(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """200 unless only a restart helps; a database that is away does not count."""
        return answer(response, lambda health: health.live)

    return router


# The metrics, for Prometheus.


class Scrape(Protocol):
    """Gives the metrics and their content type, in a format that ``accept`` names."""

    def __call__(self, accept: str, *, fleet: bool) -> tuple[bytes, str]: ...


def metrics_router(scrape: Scrape) -> APIRouter:
    """``GET /metrics``. It names no user, and must be there while keys cannot be looked up: it asks for none."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response)
    @open_to_all
    def metrics(  # pyright: ignore[reportUnusedFunction]
        accept: Annotated[str, Header()] = "",
        fleet: Annotated[
            bool, Query(description="false leaves out what is asked of the database, so that it may sleep.")
        ] = True,
    ) -> Response:
        """Prometheus' metrics: those of this process, and of the whole fleet."""
        body, content_type = scrape(accept, fleet=fleet)
        return Response(body, headers={"Content-Type": content_type})

    return router


# A pause as every answer tells it.


class KnownPause(Protocol):
    """Something that nobody starts; ``name`` is the setting that keeps it."""

    @property
    def name(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def since(self) -> datetime: ...
    @property
    def by(self) -> str | None: ...


class Pause(BaseModel):
    """Something that nobody starts."""

    what: What
    name: str | None = Field(description="Of the provider, kind or user; null for everything.")
    since: datetime
    by: str | None
    reason: str | None


def pause_answer(pause: KnownPause) -> Pause:
    extent = extent_of(pause.name)
    return Pause(what=extent.what, name=extent.name or None, since=pause.since, by=pause.by, reason=pause.reason)


# What the fleet's routes are answered from, in their own words: answers that the database's questions give.


class Count(Protocol):
    @property
    def status(self) -> Status: ...
    @property
    def jobs(self) -> int: ...
    @property
    def exact(self) -> bool: ...


class Span(Protocol):
    @property
    def span(self) -> str: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def mean_seconds(self) -> float | None: ...


class Questions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def count_jobs(self) -> Sequence[Count]: ...

    def throughput(self, *, cap: int) -> Sequence[Span]: ...

    def pauses(self) -> Sequence[KnownPause]: ...

    def oldest_waiting(self) -> Sequence[Any]: ...

    def gates(self, *, limit: int) -> Sequence[Any]: ...

    def workers(self, *, limit: int) -> Sequence[Any]: ...


Q_co = TypeVar("Q_co", covariant=True)


class Ask(Protocol[Q_co]):
    """Lends somebody who answers questions, for the length of a block."""

    def __call__(self) -> AbstractContextManager[Q_co]: ...


SAMPLE = 10_000
"""How many of the latest final jobs stand for a span with more of them."""
MOST_WORKERS = 1000
MOST_GATES = 100


Reader = Annotated[Caller, needs("read", whole_fleet=True)]


class Model(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Ended(Model):
    """What ended within a span, in the whole fleet."""

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
    active_workers: int = Field(description="Heard of within two minutes.")
    average_job_time: float | None = Field(description="Seconds, of the jobs completed within the last hour.")
    success_rate: float | None = Field(description="From 0 to 1, of the jobs that ended within the last hour.")
    hour: Ended
    day: Ended


class Front(Model):
    """The job that has waited for longest for one provider."""

    provider: str
    id: UUID
    seconds: float = Field(description="For which it has been due.")
    workers: int = Field(description="Living workers that serve it; with 0 the lane stands still.")


class Gate(Model):
    """A key of a provider, for the whole fleet."""

    key_label: str
    provider: str
    calls_per_minute: int
    used: int = Field(description="Calls of the last minute.")
    state: str = Field(description="ok, limited, open or probing.")
    reason: str | None
    seconds: float = Field(description="Until it is tried again.")
    workers: int


class FleetStatus(BaseModel):
    """How the fleet does. ``stopped``: no worker has been heard of for two minutes."""

    status: Literal["running", "paused", "stopped"]
    active_workers: int
    busy: int = Field(description="Jobs that the living workers do now.")
    concurrency: int = Field(description="Jobs that they can do at once.")
    paused: list[Pause]
    waiting: list[Front]
    gates: list[Gate]
    stats: Stats


class Worker(Model):
    """One process. It is kept for a day after it was heard of last."""

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


class Workers(BaseModel):
    workers: list[Worker]


def fleet_router(ask: Ask[Questions]) -> APIRouter:
    """``/worker/status``, ``/worker/stats`` and ``/worker/workers``."""
    router = APIRouter(prefix="/worker", tags=["fleet"])
    answers: dict[int | str, dict[str, Any]] = documented(401, 403, 429, 503)

    @router.get("/status", responses=answers)
    def fleet_status(_: Reader) -> FleetStatus:  # pyright: ignore[reportUnusedFunction]
        """How the fleet does: workers, pauses, what waits, keys of providers, figures."""
        with ask() as questions:
            return status_of(questions)

    @router.get("/stats", responses=answers)
    def fleet_stats(_: Reader) -> Stats:  # pyright: ignore[reportUnusedFunction]
        """The fleet's figures."""
        with ask() as questions:
            return _stats(questions, _alive(questions.workers(limit=MOST_WORKERS)))

    @router.get("/workers", responses=answers)
    def list_workers(_: Reader) -> Workers:  # pyright: ignore[reportUnusedFunction]
        """The workers of the last day, at most 1,000."""
        with ask() as questions:
            return Workers(workers=[Worker.model_validate(each) for each in questions.workers(limit=MOST_WORKERS)])

    return router


def status_of(questions: Questions) -> FleetStatus:
    """How the fleet does now."""
    alive = _alive(questions.workers(limit=MOST_WORKERS))
    pauses = questions.pauses()
    everything = any(pause.name == EVERYTHING.setting for pause in pauses)
    return FleetStatus(
        status="stopped" if not alive else "paused" if everything else "running",
        active_workers=len(alive),
        busy=sum(worker.busy for worker in alive),
        concurrency=sum(worker.concurrency for worker in alive),
        paused=[pause_answer(pause) for pause in pauses],
        waiting=[Front.model_validate(lane) for lane in questions.oldest_waiting()],
        gates=[Gate.model_validate(gate) for gate in questions.gates(limit=MOST_GATES)],
        stats=_stats(questions, alive),
    )


def _alive(workers: Sequence[Any]) -> list[Worker]:
    found = [Worker.model_validate(worker) for worker in workers]
    return [worker for worker in found if worker.state != "silent"]


def _stats(questions: Questions, alive: Sequence[Worker]) -> Stats:
    counts = questions.count_jobs()
    spans = {span.span: span for span in questions.throughput(cap=SAMPLE)}
    hour = spans["hour"]
    ended = hour.completed + hour.failed
    return Stats(
        **_numbers(counts),
        jobs_total=sum(count.jobs for count in counts),
        jobs_exact=all(count.exact for count in counts),
        active_workers=len(alive),
        average_job_time=hour.mean_seconds,
        success_rate=hour.completed / ended if ended else None,
        hour=_ended(hour),
        day=_ended(spans["day"]),
    )


def _numbers(counts: Sequence[Count]) -> dict[str, Any]:
    states: dict[Status, int] = {count.status: count.jobs for count in counts}
    return {f"jobs_{status}": jobs for status, jobs in states.items()}


def _ended(span: Span) -> Ended:
    return Ended.model_validate(span)


# ``GET /worker/health``: this process, in the words of the Worker Service. Asks the database nothing but the key.


SETTLED = "attempt.settled"
PROCESSED = ("completed", "failed", "cancelled")
"""States in which a job is done with."""


class WorkerHealth(BaseModel):
    """How the process is that answers."""

    worker_id: str
    status: Literal["healthy", "unhealthy"]
    jobs_processed: int = Field(description="Jobs that it has brought to their end since it was started.")
    uptime: int = Field(description="Seconds.")
    problems: list[str] = Field(description="What is wrong, in words.")


UNHEALTHY: dict[str, Any] = {
    "model": WorkerHealth,
    "description": "The process is unhealthy, or the key cannot be looked up.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM}}},
}


class Processed:
    """Counts the jobs that this process brings to their end."""

    def __init__(self, events: Events) -> None:
        self.jobs = 0
        events.subscribe(self._hear)

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == SETTLED and fields["status"] in PROCESSED:
            self.jobs += 1  # by one thread only, the settler's


def worker_health_router(report: Report, processed: Processed) -> APIRouter:
    router = APIRouter(prefix="/worker", tags=["fleet"])

    @router.get(
        "/health",
        responses={**documented(401, 403, 429), 503: UNHEALTHY},
    )
    def worker_health(  # pyright: ignore[reportUnusedFunction]
        response: Response, _: Annotated[Caller, needs("read")]
    ) -> WorkerHealth:
        """How the process is that answers; 503 with what is wrong. `/health` tells more, and asks for no key."""
        found = report()
        response.status_code = 200 if found["status"] == "healthy" else 503
        return WorkerHealth(
            worker_id=found["id"],
            status=found["status"],
            jobs_processed=processed.jobs,
            uptime=int(found["uptime_seconds"]),
            problems=found["problems"],
        )

    return router
