"""A database in which everything has happened that people ask about: a job in each state, money, workers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from generation_worker.db.protocol import PostgresStore
from generation_worker.domain.errors import ContentBlocked, NoImage, ProviderLimited
from generation_worker.domain.job import LANE_START, NO_PROVIDER, Job
from generation_worker.domain.settlement import Blocked, Completed, Failed, Outcome, RateLimited, RetryPolicy, settle
from generation_worker.ports import CallReport, WorkerInfo
from tests.support import jobs
from tests.support.database import Connection

WORKER = "worker-1"
RESULT: dict[str, Any] = {"images": [{"key": "ada/1.webp"}], "provider": "local"}


class SingleConnection:
    """One connection, lent again and again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Generator[Connection]:
        yield self._connection


@dataclass(frozen=True)
class Population:
    """The jobs by their state; ada owns all but `bobs`, which stands at the end of the line."""

    completed: UUID
    failed: UUID
    blocked: UUID
    cancelled: UUID
    scheduled: UUID
    rate_limited: UUID
    processing: UUID
    pending: list[UUID]
    bobs: UUID


def claim(store: PostgresStore, *, lease: float = 60.0) -> Job:
    """Claim the next job."""
    lanes = {"local": LANE_START, NO_PROVIDER: LANE_START}
    [job] = store.claim_jobs(WORKER, lanes, slots=1, lease=lease, max_attempts=4).jobs
    return job


def end(store: PostgresStore, job: Job, outcome: Outcome) -> None:
    store.settle_attempts([(job, settle(job, outcome, RetryPolicy(), elapsed=0.1, spread=0.5))])


def pay_call(store: PostgresStore, job: Job) -> None:
    begun = store.begin_call(job, provider="local", key_label="local", max_paid_calls=2)
    assert begun.number is not None
    store.finish_call(job, begun.number, CallReport(milliseconds=120, spent=True, model="local"))


def populate(connection: Connection) -> Population:
    """ada has had 100 credits and pays 1 for an image; worker-1 lives and is busy with one job."""
    jobs.offer_local(connection)
    jobs.grant(connection, "ada", 100, "payment-1")
    jobs.grant(connection, "bob", 10)
    store = PostgresStore(SingleConnection(connection))
    card = WorkerInfo(WORKER, "0.1.0", ("local",), 5)
    store.register_worker(card)
    store.touch_worker(card, busy=1, stuck=0)
    ended = {
        name: _work(connection, store, outcome)
        for name, outcome in {
            "completed": Completed(RESULT),
            "failed": Failed(NoImageForGood("the provider sent no image")),
            "blocked": Blocked(ContentBlocked("the prompt was refused")),
            "scheduled": Failed(NoImage("the provider sent no image")),
            "rate_limited": RateLimited(ProviderLimited("too early", wait=120)),
        }.items()
    }
    cancelled = jobs.enqueue(connection)
    connection.execute("SELECT cancel_generation(%s)", [cancelled])
    processing = jobs.enqueue(connection)
    claim(store)
    pending = [jobs.enqueue(connection, idempotency_key=f"key-{n}") for n in range(3)]
    bobs = jobs.enqueue(connection, "bob", priority=5)
    return Population(**ended, cancelled=cancelled, processing=processing, pending=pending, bobs=bobs)


class NoImageForGood(NoImage):
    """No image, and no use in trying again."""

    retry = False


def _work(connection: Connection, store: PostgresStore, outcome: Outcome) -> UUID:
    job_id = jobs.enqueue(connection)
    job = claim(store)
    assert job.id == str(job_id)
    pay_call(store, job)
    end(store, job, outcome)
    return job_id
