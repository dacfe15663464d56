"""Puts the scene on: grants credits, enqueues, and does what its people do while the worker works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from generation_worker.db.audit_trail import Author
from generation_worker.db.credits import adjust_credits, grant_credits
from generation_worker.db.enqueue import EnqueuedJob, EnqueueRequest, cancel, enqueue_many
from generation_worker.db.fleet import set_setting
from generation_worker.db.query import Queries
from generation_worker.demo.scene import FIVE_CREDITS, GRANTS, PRICES, Act
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.refusals import EnqueueRefused

# A second worker, in a process of its own, that is killed in the middle of its work.


NAME = "second"
STARTS_AT = 5.0
"""Seconds after the start: when it is ready to claim, nothing waits any more but the studio's crowd."""
JOBS = 4
UNSERVED = dict.fromkeys(
    ("WORKER_ENABLE_HEALTH_CHECK", "WORKER_ENABLE_METRICS", "ENABLE_API", "ENABLE_DASHBOARD"), "false"
)


class SecondWorker:
    """Started by ``step`` when its time has come, and killed when it waits for as many answers as it can."""

    def __init__(self, queries: Queries, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._queries = queries
        self._environment = environment
        self._say = say
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
                self._say(f"a second worker is killed, with {JOBS} jobs in its hands")

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        """With a provider that never answers, so that it is in the middle of its calls whenever it is killed."""
        own = {"WORKER_ID": NAME, "WORKER_CONCURRENCY": str(JOBS), "LOCAL_DELAY": "10m"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "generation_worker", "run"],
            env={**_inherited(), **self._environment, **own, **UNSERVED},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo
        )


def _inherited() -> dict[str, str]:
    """What Python needs, and no setting of ours that happens to be in the environment."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("PYTHON")}


FIRST_ARRIVAL = 1.5
"""Seconds after the start, when the worker has plenty to do."""
BETWEEN_ARRIVALS = 0.35

FINAL = ("completed", "failed", "cancelled")


class Cast(NamedTuple):
    """A job of the scene and the act it plays in."""

    act: Act
    request: EnqueueRequest
    job: UUID


class Refused(NamedTuple):
    """A request of the scene that did not become a job."""

    act: Act
    request: EnqueueRequest
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the scene is."""

    seconds: float
    jobs: Mapping[tuple[str, str], int]
    """How many by user and status."""
    to_come: Mapping[str, int]
    """How many by user are not enqueued yet."""

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
    """The director. Not for several threads."""

    def __init__(
        self,
        queries: Queries,
        acts: Sequence[Act],
        second_worker: SecondWorker,
        say: Callable[[str], None],
    ) -> None:
        self._queries = queries
        self._acts = acts
        self._second_worker = second_worker
        self._say = say
        self._late = deque((act, request) for act in acts if act.late for request in act.requests)
        self._to_cancel: set[UUID] = set()
        self._began = time.monotonic()
        self.cast: list[Cast] = []
        self.refused: list[Refused] = []
        self.problems: list[str] = []

    def set_up(self) -> None:
        """Prices, credits, and every request that does not come late."""
        with self._queries.transaction() as queries:
            queries.execute("offer_providers", providers=["local"])
            for name, value in PRICES.items():
                set_setting(queries, name, value, by=Author("demo"))
            for user in users(self._acts):
                with queries.connection() as connection:
                    amount = GRANTS.get(user, FIVE_CREDITS)
                    grant_credits(connection, user, amount, reason="demo", actor="demo", schema=queries.schema)
        for act in self._acts:
            if not act.late:
                self._perform(act, act.requests)

    @property
    def lost(self) -> set[UUID]:
        """The jobs that were running on the worker that was killed."""
        return self._second_worker.lost

    def begin(self) -> None:
        """The worker has started: the clock runs."""
        self._began = time.monotonic()

    def step(self) -> Progress:
        """Whatever is due: an arrival, a cancellation, the second worker's short life."""
        seconds = time.monotonic() - self._began
        self._let_in(seconds)
        self._cancel_what_runs()
        self._second_worker.step(seconds)
        rows = self._queries.rows("demo_progress")
        jobs = {(row["user_id"], row["status"]): row["jobs"] for row in rows}
        return Progress(seconds, jobs, Counter(request.user_id for _, request in self._late))

    def _let_in(self, seconds: float) -> None:
        arrived = sum(member.act.late for member in self.cast)
        while self._late and seconds >= FIRST_ARRIVAL + arrived * BETWEEN_ARRIVALS:
            act, request = self._late.popleft()
            self._perform(act, [request])
            arrived += 1

    def _cancel_what_runs(self) -> None:
        if not self._to_cancel:
            return
        for row in self._queries.rows("demo_running", ids=list(self._to_cancel)):
            with self._queries.connection() as connection:
                cancel(connection, row["id"], schema=self._queries.schema)
            self._to_cancel.discard(row["id"])

    def _perform(self, act: Act, requests: Sequence[EnqueueRequest]) -> None:
        try:
            jobs = [job.id for job in self._enqueue(requests)]
        except (EnqueueRefused, InvalidPayload) as error:
            self.refused += [Refused(act, request, error.code, str(error)) for request in requests]
            return
        self.cast += [Cast(act, request, job) for request, job in zip(requests, jobs, strict=True)]
        self._whatever_else(act, requests, jobs)

    def _enqueue(self, requests: Sequence[EnqueueRequest]) -> list[EnqueuedJob]:
        with self._queries.connection() as connection:
            return enqueue_many(connection, requests, schema=self._queries.schema)

    def _whatever_else(self, act: Act, requests: Sequence[EnqueueRequest], jobs: Sequence[UUID]) -> None:
        if act.twice:
            again = self._enqueue(requests)
            if [job.id for job in again] != jobs or not all(job.duplicate for job in again):
                self.problems.append(f"{act.title}: the second request was not answered with the first one's job")
        for request in requests if act.takes_away else ():
            with self._queries.connection() as connection:
                adjust_credits(
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
            self._say(f"{requests[0].user_id} comes with one job")


def users(acts: Sequence[Act]) -> Iterator[str]:
    """Everybody in the scene, once, in the order of their acts."""
    return iter(dict.fromkeys(request.user_id for act in acts for request in act.requests))
