"""Jobs and batches, as the HTTP API asks for them. ``user``: of that user only; None: of everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, get_args
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row

from generation_worker.db import enqueue
from generation_worker.db.audit_trail import AuditEvent, Author, Pause, record, together
from generation_worker.db.connections import Connections
from generation_worker.db.enqueue import Cancellation, EnqueuedJob, EnqueueRequest, enqueue_many
from generation_worker.db.fleet import JobCount
from generation_worker.db.query import FAR, HEAD, SAMPLE, Asking, Desk, Mark, Row, ask, only
from generation_worker.db.signals import wake
from generation_worker.db.statements import load_statements
from generation_worker.domain.estimate import Pace
from generation_worker.domain.job import FINAL, Status
from generation_worker.domain.refusals import (
    EnqueueRefused,
    InvalidRequest,
    JobIsFinal,
    JobNotFound,
    JobNotReleasable,
    JobNotWaiting,
    TooManyWaiting,
)

# Answers about jobs that somebody names or chooses.


class JobDetails(NamedTuple):
    """All there is to know about one job."""

    job: Row
    queue_position: int | None
    """Jobs before it in its lane, so 0 is next; None if it does not wait in line. At FAR it means that many or more."""
    attempts: list[Row]
    calls: list[Row]
    entries: list[Row]


class JobGlance(NamedTuple):
    """What a list shows of a job beside its columns."""

    id: UUID
    held: bool
    """Out of the claims' way, because it is paused."""
    worker: str | None
    prompt: str | None
    """Its beginning, with its placeholders."""
    inputs: Any
    """What fills them, unless that is large."""
    operations: Any
    images: int
    """That its result has."""
    place: int | None
    """Jobs before it; None if it does not wait in line, or far back."""


# Answers about what came of the jobs of late. Spans are in seconds. Amounts are in credits.


class Throughput(NamedTuple):
    span: str
    """hour or day."""
    completed: int
    failed: int
    cancelled: int
    per_minute: float
    mean_seconds: float | None
    """From the first start to completion; None if nothing was completed."""
    credits_charged: int
    """For completed jobs."""
    refunds: int
    credits_refunded: int
    exact: bool


class EndedSpan(NamedTuple):
    """What ended within one of several spans of the same length."""

    since: datetime
    completed: int
    failed: int
    cancelled: int
    mean_seconds: float | None
    """From the first start to completion; None if nothing was completed."""
    exact: bool
    """False: there was more than was looked at."""


class DuplicateCalls(NamedTuple):
    """What was, or may have been, paid for twice."""

    jobs: int
    calls: int
    """Beyond the first of each job."""
    credits: int
    """What users pay for as many images: providers do not tell their price."""
    example: UUID | None
    """The latest of them."""


class CallsOfKey(NamedTuple):
    """Calls of one key that ended in the same way."""

    provider: str
    key_label: str
    model: str | None
    outcome: str | None
    """``ok``, or the code of what went wrong; None for those under way, and those of which nobody knows more."""
    calls: int
    mean_milliseconds: float | None
    paid_in_vain: int
    """Charged, and no image came of it."""
    perhaps_paid: int
    """Nobody knows whether they were charged."""
    exact: bool
    """False: there were more calls than were looked at."""


class FailureCode(NamedTuple):
    code: str
    jobs: int
    last_at: datetime
    example: UUID
    message: str | None


class DeadLetter(NamedTuple):
    id: UUID
    kind: str
    user_id: str
    provider: str
    cost: int
    debited: bool
    """Whether it was charged, and so refunded."""
    attempt: int
    error_code: str
    error_message: str | None
    created_at: datetime
    finished_at: datetime
    replayed_as: UUID | None


class DeadLetters(NamedTuple):
    letters: list[DeadLetter]
    cursor: str | None
    """Where the next page begins; None if this is the last."""


# Questions about jobs that somebody names or chooses.


class JobInsights(Asking):
    def find_jobs(self, prefix: str, *, limit: int = 2) -> list[UUID]:
        """The ids that begin with ``prefix``, in their order. A text that begins no id finds nothing."""
        digits = prefix.replace("-", "").lower()
        if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
            return []
        low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        return [row["id"] for row in self._rows("find_jobs", low=low, high=high, limit=limit)]

    def job(self, job_id: UUID) -> Row | None:
        """A job's row by the names of its columns, and ``replayed_as``."""
        return only(self._rows("job", id=job_id))

    def job_details(self, job_id: UUID) -> JobDetails | None:
        """A job with its attempts, provider calls, credit entries and place in line; None if there is none."""
        job = self.job(job_id)
        if job is None:
            return None
        return JobDetails(
            job=job,
            queue_position=self.queue_position(job_id),
            attempts=self._rows("job_attempts", id=job_id),
            calls=self._rows("job_calls", id=job_id),
            entries=self._rows("job_entries", id=job_id),
        )

    def queue_position(self, job_id: UUID, *, cap: int = FAR) -> int | None:
        """How many jobs go before it, at most ``cap``; None if it is not pending."""
        found = only(self._rows("queue_position", id=job_id, cap=cap))
        return None if found is None else found["position"]

    def jobs_of_user(self, user: str, *, cap: int = 1000) -> list[JobCount]:
        """One user's jobs in each state, in the order of a job's life. Not exact: there are more."""
        counts = {count.status: count for count in self._ask(JobCount, "jobs_of_user", user=user, cap=cap)}
        return [counts[status] for status in get_args(Status)]

    def job_changes(self, job_id: UUID, *, limit: int = 100) -> list[AuditEvent]:
        """What people and keys have changed about a job, in their order."""
        return self._ask(AuditEvent, "job_changes", id=job_id, limit=limit)

    def job_pauses(self, job_id: UUID) -> list[Pause]:
        """What keeps a job waiting, or would if it waited."""
        return self._ask(Pause, "job_pauses", id=job_id)

    def job_images(self, job_id: UUID) -> Any:
        """The images of a job's result, as they stand there; None if it has none, or if there is no job."""
        found = only(self._rows("job_images", id=job_id))
        return None if found is None else found["images"]

    def job_glances(self, job_ids: Sequence[UUID], *, head: int = HEAD) -> dict[UUID, JobGlance]:
        """What a list shows of these jobs beside their columns. Places are told among the first ``head`` of a lane."""
        found = self._ask(JobGlance, "job_glances", ids=list(job_ids), head=head)
        return {glance.id: glance for glance in found}

    def chosen_jobs(
        self, *, action: str, statuses: Sequence[str], after: UUID, limit: int, **chosen: Any
    ) -> list[UUID]:
        """The ids behind ``after`` of those that a ``bulk.Filter`` chooses."""
        asked = {"action": action, "statuses": list(statuses), "after": after, "limit": limit}
        return [row["id"] for row in self._rows("chosen_jobs", **asked, **chosen)]

    def count_chosen_jobs(self, *, action: str, statuses: Sequence[str], **chosen: Any) -> dict[str, int]:
        """How many of each status. This one is not bounded: who changes many jobs wants to know how many."""
        rows = self._rows("count_chosen_jobs", action=action, statuses=list(statuses), **chosen)
        return {row["status"]: row["jobs"] for row in rows}


# Questions about what came of the jobs of late.


class ResultInsights(Asking):
    def throughput(self, *, cap: int = SAMPLE) -> list[Throughput]:
        """What ended in the last hour and the last day; scaled up beyond ``cap`` jobs."""
        return self._ask(Throughput, "throughput", cap=cap)

    def history(self, *, seconds: float, spans: int, cap: int = SAMPLE) -> list[EndedSpan]:
        """What ended in each of the latest ``spans`` of ``seconds`` each, the oldest first."""
        return self._ask(EndedSpan, "history", seconds=seconds, spans=spans, cap=cap)

    def failures_by_code(self, *, seconds: float = 86_400, cap: int = SAMPLE) -> list[FailureCode]:
        """The reasons of failures within the last ``seconds``, the most frequent first."""
        return self._ask(FailureCode, "failures_by_code", seconds=seconds, cap=cap)

    def duplicate_calls(self, *, seconds: float = 86_400, cap: int = FAR) -> DuplicateCalls:
        """What providers were, or may have been, paid for more than once within the last ``seconds``."""
        return self._ask(DuplicateCalls, "duplicate_calls", seconds=seconds, cap=cap)[0]

    def calls(self, *, seconds: float = 3600, cap: int = SAMPLE) -> list[CallsOfKey]:
        """What came of the calls to providers within the last ``seconds``, by key, model and outcome."""
        return self._ask(CallsOfKey, "calls", seconds=seconds, cap=cap)

    def dead_letters(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        code: str | None = None,
        user: str | None = None,
    ) -> DeadLetters:
        """Failed jobs, the latest first, a page at a time. Raises InvalidRequest for a cursor that is not ours."""
        found = self.look_at_dead_letters(limit=limit, cursor=cursor, code=code, user=user)
        letters = list(found.letters)
        while found.cursor is not None and len(letters) < limit:
            found = self.look_at_dead_letters(limit=limit - len(letters), cursor=found.cursor, code=code, user=user)
            letters += found.letters
        return DeadLetters(letters, found.cursor)

    def look_at_dead_letters(
        self, *, limit: int, cursor: str | None, code: str | None, user: str | None, cap: int = FAR
    ) -> DeadLetters:
        """As ``dead_letters``, among the next ``cap`` of them: a page may be short, even empty, and not the last."""
        before_time, before_id = _read_cursor(cursor)
        cap = limit + 1 if code is None and user is None else cap
        found = self._rows(
            "dead_letters",
            limit=limit + 1,
            cap=cap,
            before_time=before_time,
            before_id=before_id,
            code=code,
            user=user,
        )
        letters = [DeadLetter(**{name: row[name] for name in DeadLetter._fields}) for row in found if row["id"]]
        if len(letters) > limit:
            return DeadLetters(letters[:limit], _cursor(letters[limit - 1].finished_at, letters[limit - 1].id))
        if found and found[0]["looked"] >= cap:
            return DeadLetters(letters, _cursor(found[0]["reached_at"], found[0]["reached"]))
        return DeadLetters(letters, None)


def _cursor(at: datetime, job_id: UUID) -> str:
    return f"{at.isoformat()}_{job_id}"


def _read_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    if cursor is None:
        return None, None
    time, _, job_id = cursor.partition("_")
    try:
        return datetime.fromisoformat(time), UUID(job_id)
    except ValueError:
        raise InvalidRequest("cursor: is not one that a page of dead letters ended with") from None


# What people and keys do to jobs. Each change stands in the audit trail, in its own transaction.
#
# An app that cancels or replays for its own users does so through ``enqueue``, in its transaction and without a record.


# Before whoever is first now. Its lane may hold a job of an urgent priority, and it is to overtake that too.
RUN_NEXT = """
WITH job AS MATERIALIZED (
  SELECT id, provider, priority, position, status FROM generation_job
   WHERE id = %(id)s AND status IN ('pending', 'scheduled', 'rate_limited') FOR NO KEY UPDATE
), front AS (
  SELECT j.priority, j.position FROM job JOIN generation_job j ON j.provider = job.provider
   WHERE j.status = 'pending' AND NOT j.held AND j.id <> job.id AND isfinite(j.position)
   ORDER BY j.priority, j.position, j.id LIMIT 1
), place AS (
  SELECT job.*, coalesce((front.priority, front.position) <= (job.priority, job.position), false) AS behind,
         front.priority AS front_priority, front.position AS front_position
    FROM job LEFT JOIN front ON true
)
UPDATE generation_job j
   SET status = 'pending', run_at = least(j.run_at, clock_timestamp()),
       priority = CASE WHEN behind THEN front_priority ELSE j.priority END,
       position = CASE WHEN behind THEN front_position - interval '1 microsecond' ELSE j.position END
  FROM place WHERE j.id = place.id
RETURNING j.status, j.priority, j.position,
          place.status AS old_status, place.priority AS old_priority, place.position AS old_position
"""
RELEASE = """
UPDATE generation_job
   SET lease_expires_at = CASE status WHEN 'processing'
                          THEN least(lease_expires_at, clock_timestamp() - interval '1 second') END,
       run_at = CASE status WHEN 'processing' THEN run_at ELSE least(run_at, clock_timestamp()) END
 WHERE id = %(id)s AND status IN ('scheduled', 'rate_limited', 'processing')
RETURNING status, locked_by, run_at, lease_expires_at
"""
STANDS = "SELECT status, locked_by, run_at, lease_expires_at FROM generation_job WHERE id = %s FOR NO KEY UPDATE"
STATE = "SELECT status, cancel_requested_at IS NOT NULL FROM generation_job WHERE id = %s FOR NO KEY UPDATE"


class Released(NamedTuple):
    """The status of a job that was released, and who held it, if it runs."""

    status: str
    held_by: str | None


def cancel_job(connection: Connection, job_id: UUID | str, *, by: Author) -> Cancellation:
    """As ``enqueue.cancel``; a request that changes nothing is not recorded. Raises JobNotFound."""
    with together(connection):
        before = _state(connection, job_id)
        cancelled = enqueue.cancel(connection, job_id)
        if before != cancelled._asdict():
            record(connection, by, "job.cancel", f"job:{job_id}", before=before, after=cancelled._asdict())
    return cancelled


def replay_job(connection: Connection, job_id: UUID | str, *, by: Author) -> EnqueuedJob:
    """As ``enqueue.replay``; what was replayed before is not recorded again. Raises what that raises."""
    with together(connection):
        before = _state(connection, job_id)
        new = enqueue.replay(connection, job_id)
        if not new.duplicate:
            record(connection, by, "job.replay", f"job:{job_id}", before=before, after={"replayed_as": new.id})
    return new


def run_next(connection: Connection, job_id: UUID | str, *, by: Author) -> dict[str, Any]:
    """Put a waiting job at the front of its lane, whatever it waits for; its status and place now.

    A closed gate, an empty account or a pause may still keep it. Raises JobNotFound, and JobNotWaiting if it runs or
    has ended.
    """
    with together(connection):
        before = _state(connection, job_id)
        with connection.cursor(row_factory=dict_row) as cursor:
            after = cursor.execute(RUN_NEXT, {"id": str(job_id)}).fetchone()
        if after is None:
            _refuse(before, job_id, JobNotWaiting, "runs, or has ended")
        old = {name.removeprefix("old_"): after.pop(name) for name in list(after) if name.startswith("old_")}
        record(connection, by, "job.run_next", f"job:{job_id}", before=old, after=after)
        wake(connection)
    return after


def release_job(connection: Connection, job_id: UUID | str, *, by: Author) -> Released:
    """Make a job due now that waits for its time, or take one from the worker that holds it.

    The latter is for a worker that is stuck and says that it lives: its lease runs out, so that a living worker takes
    the job over within seconds. What it does is not stopped, but it can write nothing more. Raises JobNotFound, and
    JobNotReleasable if the job waits for nothing, or has ended.
    """
    with together(connection), connection.cursor(row_factory=dict_row) as cursor:
        before = cursor.execute(STANDS, [str(job_id)]).fetchone()
        after = cursor.execute(RELEASE, {"id": str(job_id)}).fetchone()
        if after is None:
            _refuse(before, job_id, JobNotReleasable, "neither waits for its time nor is held by a worker")
        record(connection, by, "job.release", f"job:{job_id}", before=before, after=after)
        wake(connection)
    return Released(after["status"], after["locked_by"])


def _refuse(state: dict[str, Any] | None, job_id: UUID | str, error: type[EnqueueRefused], why: str) -> NoReturn:
    if state is None:
        raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
    raise error(f"job {job_id} is {state['status']}: it {why}")


def _state(connection: Connection, job_id: UUID | str) -> dict[str, Any] | None:
    with connection.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(STATE, [str(job_id)]).fetchone()
    return dict(zip(Cancellation._fields, found, strict=True)) if found else None


LOOKED_AT = 5_000
"""Rows that one page of a filtered list looks at, at most."""
LARGEST_BATCH = 1_000
PACE_KEPT = 2.0
"""Seconds for which an estimate may go by the same figures."""

Connection = psycopg.Connection[Any]


class JobDesk(Desk):
    """Each method may raise StoreUnavailable."""

    def __init__(self, connections: Connections, *, private_urls: bool = False) -> None:
        """``private_urls`` is for development: inputs may have URLs that are not on the public internet."""
        super().__init__(connections)
        self._private_urls = private_urls
        self._insights = JobInsights(connections)
        self._paces: dict[str, tuple[float, Pace]] = {}
        self._lock = threading.Lock()

    def enqueue(self, request: Mapping[str, Any], *, most_waiting: int) -> list[EnqueuedJob]:
        """Raises InvalidPayload and EnqueueRefused: TooManyWaiting, and what ``db.enqueue`` raises."""
        asked = EnqueueRequest(**request)
        with self._connections.connection() as connection, connection.transaction():
            return _bounded(
                connection,
                asked.user_id,
                most_waiting,
                lambda: enqueue_many(connection, [asked], private_urls=self._private_urls),
            )

    def replay(
        self, job_id: UUID, user: str | None, *, most_waiting: int, by: str, reason: str | None = None
    ) -> EnqueuedJob:
        """Raises as ``enqueue`` does, JobNotFound and JobNotReplayable."""
        with self._connections.connection() as connection, connection.transaction():
            owner = _owner(connection, job_id, user)
            [job] = _bounded(
                connection, owner, most_waiting, lambda: [replay_job(connection, job_id, by=Author(by, reason))]
            )
            return job

    def cancel(self, job_id: UUID, user: str | None, *, by: str, reason: str | None = None) -> Status:
        """The job's status now: cancelled, or processing if it was asked to stop. Raises JobNotFound, JobIsFinal."""
        with self._connections.connection() as connection, connection.transaction():
            _owner(connection, job_id, user)
            status = cancel_job(connection, job_id, by=Author(by, reason)).status
        if status in FINAL - {"cancelled"}:
            raise JobIsFinal(f"job {job_id} is {status} already; nothing was changed")
        return status

    def find(self, job_id: UUID, user: str | None) -> Row | None:
        return self._only("find_job", id=job_id, user=user)

    def attempts(self, job_id: UUID) -> list[Row]:
        """How the attempts ended, in their order."""
        return self._rows("job_attempts", job_id)

    def entries(self, job_id: UUID) -> list[Row]:
        """What the job moved in its user's account."""
        return self._rows("job_entries", job_id)

    def queue_position(self, job_id: UUID) -> int | None:
        """How many jobs go before it, at most ``farthest``; None if it is not pending."""
        return self._insights.queue_position(job_id, cap=FAR)

    @property
    def farthest(self) -> int:
        return FAR

    def pace(self, provider: str) -> Pace:
        """What the provider's lane has been doing lately."""
        now = time.monotonic()
        known = self._paces.get(provider)
        if known is not None and now < known[0]:
            return known[1]
        row = self._only("lane_pace", provider=provider, cap=min(SAMPLE, 2_000))
        assert row is not None
        with self._lock:
            self._paces[provider] = (now + PACE_KEPT, Pace(**row))
            return self._paces[provider][1]

    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[list[Row], Mark | None]:
        """The latest jobs before a mark, and where the next page begins (None: there is none).

        A page may have fewer than ``limit`` jobs, even none, and not be the last: what is looked at is bounded.
        """
        filtered = statuses is not None or kind is not None
        cap = LOOKED_AT if filtered else limit + 1
        found = self._ask(
            "list_jobs" if user is None else "list_jobs_of_user",
            user=user,
            before_time=before.at,
            before_id=before.id,
            statuses=None if statuses is None else list(statuses),
            kind=kind,
            cap=cap,
            limit=limit + 1,
        )
        jobs = [row for row in found if row["id"] is not None]
        if len(jobs) > limit:
            return jobs[:limit], Mark(jobs[limit - 1]["created_at"], jobs[limit - 1]["id"])
        if found and found[0]["looked"] >= cap:
            return jobs, Mark(found[0]["reached_at"], found[0]["reached"])
        return jobs, None

    def named(self, job_ids: Sequence[UUID]) -> list[Row]:
        """Those of these jobs that there are, the latest first."""
        return self._ask("named_jobs", ids=list(job_ids))

    def batch(self, batch_id: UUID, user: str | None) -> list[Row]:
        """Its jobs, in their order, at most LARGEST_BATCH."""
        return self._ask("batch_jobs", id=batch_id, user=user, limit=LARGEST_BATCH)

    def owned(self, job_ids: Sequence[UUID], user: str) -> set[UUID]:
        """Which of these jobs belong to ``user``."""
        return {row["id"] for row in self._ask("owned_jobs", ids=list(job_ids), user=user)}

    def _rows(self, question: str, job_id: UUID) -> list[Row]:
        with self._connections.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load_statements()[question], {"id": job_id}).fetchall()


def _bounded(
    connection: Connection, user: str, most_waiting: int, enqueue: Callable[[], list[EnqueuedJob]]
) -> list[EnqueuedJob]:
    """What is enqueued for ``user``, unless they then have too many jobs waiting. Duplicates were counted before."""
    ask(connection, "take_turn", user=user)
    made = enqueue()
    if not all(job.duplicate for job in made):
        [row] = ask(connection, "count_waiting", user=user, cap=most_waiting + 1)
        if row["waiting"] > most_waiting:
            raise TooManyWaiting(
                f"user {user} would have more than {most_waiting} jobs waiting", "Wait until some of them are done."
            )
    return made


def _owner(connection: Connection, job_id: UUID, user: str | None) -> str:
    """Raises JobNotFound if there is no such job for ``user``."""
    rows = ask(connection, "owned_jobs", ids=[job_id], user=user)
    if not rows:
        raise JobNotFound(f"there is no job {job_id}", "Final jobs are deleted after the retention.")
    return rows[0]["user_id"]
