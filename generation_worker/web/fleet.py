"""The whole fleet over HTTP: how it does, what it has done, and who works. Asked of the database, by any process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.job import Status
from generation_worker.domain.pause import EVERYTHING
from generation_worker.web.auth import needs
from generation_worker.web.caller import Caller
from generation_worker.web.fleet_questions import Ask, Count, Questions, Span
from generation_worker.web.pause_answers import Pause, pause_answer
from generation_worker.web.problems import documented

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
