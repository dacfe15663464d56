"""Plays the scene: grants credits, enqueues jobs, cancels some, and kills a second worker in the middle of its work."""

import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from generation_worker.db import audit_trail, credits, enqueue, fleet, query
from generation_worker.demo.scene import FIVE_CREDITS, GRANTS, PRICES, Act
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.refusals import EnqueueRefused

NAME = "second"
STARTS_AT = 5.0
"""Seconds after the start: when it is ready to claim, nothing waits any more but the studio's crowd."""
JOBS = 4
UNSERVED = dict.fromkeys(
    ("WORKER_ENABLE_HEALTH_CHECK", "WORKER_ENABLE_METRICS", "ENABLE_API", "ENABLE_DASHBOARD"), "false"
)
FIRST_ARRIVAL = 1.5
"""Seconds after the start, when the worker has plenty to do."""
BETWEEN_ARRIVALS = 0.35
FINAL = ("completed", "failed", "cancelled")


class SecondWorker:
    """A worker in a process of its own. ``step`` starts it in time, and kills it when all its jobs are in a call."""

    def __init__(self, queries: query.Queries, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
        self._queries = queries
        self._environment = environment
        self._announce = announce
        self._process: subprocess.Popen[bytes] | None = None
        self.lost: set[UUID] = set()
        """The jobs that it held when it was killed."""

    def step(self, seconds: float) -> None:
        if self._process is None and seconds >= STARTS_AT:
            self._start()
        elif self._process is not None and not self.lost:
            waiting = {row["id"] for row in self._queries.rows("demo_in_a_call", worker=NAME)}
            if len(waiting) == JOBS:
                self.close()
                self.lost = waiting
                self._announce(f"a second worker is killed while it works on {JOBS} jobs")

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        """Start it with a provider that never answers, so that it is killed in the middle of its calls."""
        own = {"WORKER_ID": NAME, "WORKER_CONCURRENCY": str(JOBS), "LOCAL_DELAY": "10m"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "generation_worker", "run"],
            env={**_inherited(), **self._environment, **own, **UNSERVED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo
        )


class SceneJob(NamedTuple):
    """A job of the scene, its request and its act."""

    act: Act
    request: enqueue.EnqueueRequest
    id: UUID


class RefusedRequest(NamedTuple):
    """A request of the scene that did not become a job."""

    act: Act
    request: enqueue.EnqueueRequest
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the scene."""

    seconds: float
    jobs: Mapping[tuple[str, str], int]
    """Number of jobs by user and status."""
    to_come: Mapping[str, int]
    """Number of requests by user that are not enqueued yet."""

    def count(self, *statuses: str) -> int:
        return sum(number for (_, status), number in self.jobs.items() if status in statuses)

    def final(self, users: Collection[str]) -> int:
        return sum(number for (user, status), number in self.jobs.items() if user in users and status in FINAL)

    def total(self, users: Collection[str]) -> int:
        there = sum(number for (user, _), number in self.jobs.items() if user in users)
        return there + sum(number for user, number in self.to_come.items() if user in users)

    @property
    def users(self) -> list[str]:
        return list(dict.fromkeys([user for user, _ in self.jobs] + list(self.to_come)))

    @property
    def done(self) -> bool:
        return self.count(*FINAL) == self.total(self.users)


class Stage:
    """Plays the acts of the scene, in one thread."""

    def __init__(
        self,
        queries: query.Queries,
        acts: Sequence[Act],
        second_worker: SecondWorker,
        announce: Callable[[str], None],
    ) -> None:
        self._queries = queries
        self._acts = acts
        self._second_worker = second_worker
        self._announce = announce
        self._late = deque((act, request) for act in acts if act.late for request in act.requests)
        self._to_cancel: set[UUID] = set()
        self._started = time.monotonic()
        self.jobs: list[SceneJob] = []
        self.refused: list[RefusedRequest] = []
        self.problems: list[str] = []

    def set_up(self) -> None:
        """Set prices, grant credits, and enqueue every request that does not come late."""
        with self._queries.transaction() as queries:
            queries.execute("offer_providers", providers=["local"])
            for name, value in PRICES.items():
                fleet.set_setting(queries, name, value, by=audit_trail.Author("demo"))
            for user in users(self._acts):
                with queries.connection() as connection:
                    amount = GRANTS.get(user, FIVE_CREDITS)
                    credits.grant_credits(connection, user, amount, reason="demo", actor="demo", schema=queries.schema)
        for act in self._acts:
            if not act.late:
                self._perform(act, act.requests)

    @property
    def lost(self) -> set[UUID]:
        """The jobs that were running on the worker that was killed."""
        return self._second_worker.lost

    def begin(self) -> None:
        """Start the clock: the worker has started."""
        self._started = time.monotonic()

    def step(self) -> Progress:
        """Do what is due: enqueue arrivals, cancel, start or kill the second worker."""
        seconds = time.monotonic() - self._started
        self._enqueue_arrivals(seconds)
        self._cancel_running()
        self._second_worker.step(seconds)
        rows = self._queries.rows("demo_progress")
        jobs = {(row["user_id"], row["status"]): row["jobs"] for row in rows}
        return Progress(seconds, jobs, Counter(request.user_id for _, request in self._late))

    def _enqueue_arrivals(self, seconds: float) -> None:
        arrived = sum(job.act.late for job in self.jobs)
        while self._late and seconds >= FIRST_ARRIVAL + arrived * BETWEEN_ARRIVALS:
            act, request = self._late.popleft()
            self._perform(act, [request])
            arrived += 1

    def _cancel_running(self) -> None:
        if not self._to_cancel:
            return
        for row in self._queries.rows("demo_running", ids=list(self._to_cancel)):
            with self._queries.connection() as connection:
                enqueue.cancel(connection, row["id"], schema=self._queries.schema)
            self._to_cancel.discard(row["id"])

    def _perform(self, act: Act, requests: Sequence[enqueue.EnqueueRequest]) -> None:
        try:
            jobs = [job.id for job in self._enqueue(requests)]
        except (EnqueueRefused, InvalidPayload) as error:
            self.refused += [RefusedRequest(act, request, error.code, str(error)) for request in requests]
            return
        self.jobs += [SceneJob(act, request, job) for request, job in zip(requests, jobs, strict=True)]
        self._follow_up(act, requests, jobs)

    def _enqueue(self, requests: Sequence[enqueue.EnqueueRequest]) -> list[enqueue.EnqueuedJob]:
        with self._queries.connection() as connection:
            return enqueue.enqueue_many(connection, requests, schema=self._queries.schema)

    def _follow_up(self, act: Act, requests: Sequence[enqueue.EnqueueRequest], jobs: Sequence[UUID]) -> None:
        if act.twice:
            again = self._enqueue(requests)
            if [job.id for job in again] != jobs or not all(job.duplicate for job in again):
                self.problems.append(f"{act.title}: the second request was not answered with the first one's job")
        for request in requests if act.takes_away else ():
            with self._queries.connection() as connection:
                credits.adjust_credits(
                    connection,
                    request.user_id,
                    -act.takes_away,
                    reason="spent elsewhere",
                    actor="demo",
                    schema=self._queries.schema,
                )
        if act.cancelled:
            self._to_cancel.update(jobs)
        if act.late:
            self._announce(f"{requests[0].user_id} comes with one job")


def users(acts: Sequence[Act]) -> Iterator[str]:
    """All users of the scene, each once, in the order of their acts."""
    return iter(dict.fromkeys(request.user_id for act in acts for request in act.requests))


def _inherited() -> dict[str, str]:
    """The variables that Python needs, and none of the settings that may be in the environment."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("PYTHON")}
