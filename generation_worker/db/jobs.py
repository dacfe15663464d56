"""Jobs: finds and lists them, changes them for people and API keys, and reports how they ended.

``user`` restricts a query to one user's jobs; None means the jobs of all users. Every query is bounded: a queue of a
million jobs is read as quickly as one of ten thousand. Spans are in seconds, amounts in credits.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, get_args
from uuid import UUID

from generation_worker.db.audit_trail import AuditEvent, Author, record_change
from generation_worker.db.enqueue import (
    Cancellation,
    EnqueuedJob,
    EnqueueRequest,
    cancel_or_stop,
    enqueue_again,
    enqueue_requests,
    job_not_found,
)
from generation_worker.db.query import BEGINNING, FAR, HEAD, SAMPLE, Mark, Queries, Row, read_cursor, write_cursor
from generation_worker.domain import refusals
from generation_worker.domain.estimate import LanePace
from generation_worker.domain.job import FINAL, Status

LIST_SCAN_LIMIT = 5_000
"""Most rows that one page of a filtered list reads."""
LARGEST_BATCH = 1_000
PACE_SAMPLE = 2_000
"""How many of the latest final jobs an estimate is made from."""


class JobRecord(NamedTuple):
    """One job with everything that belongs to it."""

    job: Row
    queue_position: int | None
    """Jobs before it in its lane, so 0 is next; None if it is not pending. FAR means that many or more."""
    attempts: list[Row]
    calls: list[Row]
    entries: list[Row]


class JobList(NamedTuple):
    """One page of a list. It may have fewer jobs than the limit, even none, and not be the last."""

    jobs: list[Row]
    next: Mark | None
    """Where the next page begins; None if this is the last."""


class JobPreview(NamedTuple):
    """The data of a job that lists show beside its columns."""

    id: UUID
    parked: bool
    """Excluded from claims, because it is paused."""
    worker: str | None
    prompt: str | None
    """The beginning of the prompt, with its placeholders."""
    inputs: Any
    """The values of the placeholders, unless they are large."""
    operations: Any
    images: int
    """The number of images in the result."""
    queue_position: int | None
    """Jobs before it; None if it is not pending, or far from the head of its lane."""


class JobCount(NamedTuple):
    """The number of jobs in one state."""

    status: Status
    jobs: int
    exact: bool
    """False: an estimate, because there are too many to count cheaply."""


class MovedJob(NamedTuple):
    """A job that was moved to the front of its lane, and its place there."""

    status: Status
    priority: int
    position: datetime


class ReleasedJob(NamedTuple):
    """A job that was released."""

    status: Status
    held_by: str | None
    """The worker that had leased it; None if it was delayed."""


class DeadLetter(NamedTuple):
    """A failed job."""

    id: UUID
    kind: str
    user_id: str
    provider: str
    cost: int
    debited: bool
    """Whether it was charged, and therefore refunded."""
    attempt: int
    error_code: str
    error_message: str | None
    created_at: datetime
    finished_at: datetime
    replayed_as: UUID | None


class DeadLetters(NamedTuple):
    """One page of failed jobs."""

    letters: list[DeadLetter]
    cursor: str | None
    """Where the next page begins; None if this is the last."""


class Throughput(NamedTuple):
    """The jobs that ended in the last hour or day."""

    span: str
    """hour or day."""
    completed: int
    failed: int
    cancelled: int
    per_minute: float
    """Completed jobs."""
    mean_seconds: float | None
    """From the first start to completion; None if no job was completed."""
    credits_charged: int
    """For completed jobs."""
    refunds: int
    credits_refunded: int
    exact: bool
    """False: scaled up from the latest jobs."""


class EndedSpan(NamedTuple):
    """The jobs that ended in one of several spans of the same length."""

    since: datetime
    completed: int
    failed: int
    cancelled: int
    mean_seconds: float | None
    """From the first start to completion; None if no job was completed."""
    exact: bool
    """False: more jobs ended than were read."""


class FailureCode(NamedTuple):
    """The failed jobs with one error code."""

    code: str
    jobs: int
    last_at: datetime
    example: UUID
    message: str | None
    """The error message of the example."""


class CallsOfKey(NamedTuple):
    """Provider calls of one key with the same outcome."""

    provider: str
    key_label: str
    model: str | None
    outcome: str | None
    """``ok``, or an error code; None for calls that have not ended, or whose outcome is unknown."""
    calls: int
    mean_milliseconds: float | None
    paid_in_vain: int
    """Charged by the provider without an image."""
    perhaps_paid: int
    """Whether the provider charged them is unknown."""
    exact: bool
    """False: there were more calls than were read."""


class DuplicateCalls(NamedTuple):
    """Provider calls that were, or may have been, paid for a second time."""

    jobs: int
    calls: int
    """Beyond the first call of each job."""
    credits: int
    """What users pay for as many images: providers do not report their prices."""
    example: UUID | None
    """The latest of the jobs."""


# Find and list.


def find_job(queries: Queries, job_id: UUID, user: str | None = None) -> Row | None:
    """A job's columns that the API shows; None if there is no such job of ``user``."""
    return queries.row_or_none("find_job", id=job_id, user=user)


def find_job_record(queries: Queries, job_id: UUID) -> JobRecord | None:
    """A job with all its columns, attempts, provider calls, credit entries and queue position."""
    job = queries.row_or_none("job", id=job_id)
    if job is None:
        return None
    return JobRecord(
        job=job,
        queue_position=queue_position(queries, job_id),
        attempts=list_attempts(queries, job_id),
        calls=queries.rows("job_calls", id=job_id),
        entries=list_job_entries(queries, job_id),
    )


def find_jobs(queries: Queries, prefix: str, *, limit: int = 2) -> list[UUID]:
    """The ids that begin with ``prefix``, in their order. A text that cannot begin an id finds none."""
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        return []
    low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    return [row["id"] for row in queries.rows("find_jobs", low=low, high=high, limit=limit)]


def list_jobs(
    queries: Queries,
    user: str | None,
    *,
    statuses: Sequence[Status] | None = None,
    kind: str | None = None,
    before: Mark = BEGINNING,
    limit: int,
) -> JobList:
    """A page of jobs, the latest first, from the one before ``before`` on."""
    filtered = statuses is not None or kind is not None
    cap = LIST_SCAN_LIMIT if filtered else limit + 1
    found = queries.rows(
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
        return JobList(jobs[:limit], Mark(jobs[limit - 1]["created_at"], jobs[limit - 1]["id"]))
    if found and found[0]["scanned"] >= cap:
        return JobList(jobs, Mark(found[0]["reached_at"], found[0]["reached"]))
    return JobList(jobs, None)


def list_jobs_by_id(queries: Queries, job_ids: Sequence[UUID]) -> list[Row]:
    """Those of these jobs that exist, the latest first."""
    return queries.rows("named_jobs", ids=list(job_ids))


def list_batch(queries: Queries, batch_id: UUID, user: str | None = None) -> list[Row]:
    """The jobs of a batch in their order, at most LARGEST_BATCH."""
    return queries.rows("batch_jobs", id=batch_id, user=user, limit=LARGEST_BATCH)


def preview_jobs(queries: Queries, job_ids: Sequence[UUID], *, head: int = HEAD) -> dict[UUID, JobPreview]:
    """The previews of these jobs. Queue positions are known for the first ``head`` jobs of each lane."""
    return {each.id: each for each in queries.all(JobPreview, "job_previews", ids=list(job_ids), head=head)}


def list_attempts(queries: Queries, job_id: UUID) -> list[Row]:
    """The attempts of a job that have ended, in their order."""
    return queries.rows("job_attempts", id=job_id)


def list_job_entries(queries: Queries, job_id: UUID) -> list[Row]:
    """The credit entries of a job."""
    return queries.rows("job_entries", id=job_id)


def list_job_changes(queries: Queries, job_id: UUID, *, limit: int = 100) -> list[AuditEvent]:
    """The changes that people and keys have made to a job, in their order."""
    return queries.all(AuditEvent, "job_changes", id=job_id, limit=limit)


def find_job_images(queries: Queries, job_id: UUID) -> Any:
    """The images of a job's result as its row holds them; None if it has none, or if there is no job."""
    found = queries.row_or_none("job_images", id=job_id)
    return None if found is None else found["images"]


def owned_jobs(queries: Queries, job_ids: Sequence[UUID], user: str) -> set[UUID]:
    """Which of these jobs belong to ``user``."""
    return {row["id"] for row in queries.rows("owned_jobs", ids=list(job_ids), user=user)}


def count_jobs_of_user(queries: Queries, user: str, *, cap: int = 1000) -> list[JobCount]:
    """One user's jobs in each state, in the order of a job's life. Not exact: there are more."""
    counts = {count.status: count for count in queries.all(JobCount, "jobs_of_user", user=user, cap=cap)}
    return [counts[status] for status in get_args(Status)]


def queue_position(queries: Queries, job_id: UUID, *, cap: int = FAR) -> int | None:
    """The number of jobs before it in its lane, at most ``cap``; None if it is not pending."""
    found = queries.row_or_none("queue_position", id=job_id, cap=cap)
    return None if found is None else found["position"]


def lane_pace(queries: Queries, provider: str) -> LanePace:
    """How fast the lane of a provider has been in the last hour."""
    return queries.one(LanePace, "lane_pace", provider=provider, cap=PACE_SAMPLE)


# Change one job. Each change is recorded in the audit trail, in the same transaction.
#
# An app that cancels or replays for its own users uses db/enqueue.py, in its own transaction and without a record.


def cancel_job(queries: Queries, job_id: UUID | str, *, by: Author) -> Cancellation:
    """Cancel a waiting job and refund it, or ask a running job to stop. A final job stays as it is.

    A request that changes nothing is not recorded. Raises JobNotFound.
    """
    with queries.transaction() as together:
        before = together.row_or_none("lock_status", id=job_id)
        cancelled = cancel_or_stop(together, job_id)
        if before != cancelled._asdict():
            record_change(together, by, "job.cancel", f"job:{job_id}", before=before, after=cancelled._asdict())
    return cancelled


def replay_job(queries: Queries, job_id: UUID | str, *, by: Author) -> EnqueuedJob:
    """Make a new job of one that failed or was cancelled, at today's price.

    A second replay returns the same new job, and is not recorded again. Raises JobNotFound, JobNotReplayable,
    InputGone, and everything that ``enqueue`` raises.
    """
    with queries.transaction() as together:
        before = together.row_or_none("lock_status", id=job_id)
        new = enqueue_again(together, job_id)
        if not new.duplicate:
            record_change(together, by, "job.replay", f"job:{job_id}", before=before, after={"replayed_as": new.id})
    return new


def run_next(queries: Queries, job_id: UUID | str, *, by: Author) -> MovedJob:
    """Move a waiting job to the front of its lane, whatever it waits for.

    A closed gate, an empty account or a pause may still keep it waiting. Raises JobNotFound, and JobNotWaiting if it
    runs or has ended.
    """
    with queries.transaction() as together:
        before = together.row_or_none("lock_status", id=job_id)
        moved = together.row_or_none("run_next", id=job_id)
        if moved is None:
            _refuse(before, job_id, refusals.JobNotWaiting, "runs, or has ended")
        old = {name: moved.pop(f"old_{name}") for name in MovedJob._fields}
        record_change(together, by, "job.run_next", f"job:{job_id}", before=old, after=moved)
        together.execute("wake_workers")
    return MovedJob(**moved)


def release_job(queries: Queries, job_id: UUID | str, *, by: Author) -> ReleasedJob:
    """Make a delayed job due now, or take a running job from its worker.

    The latter is for a worker that is stuck and still renews its leases: the job's lease expires, so that another
    worker takes the job over within seconds. The stuck worker is not stopped, but can write nothing more. Raises
    JobNotFound, and JobNotReleasable if the job is neither delayed nor leased.
    """
    with queries.transaction() as together:
        before = together.row_or_none("lock_lease", id=job_id)
        after = together.row_or_none("release_job", id=job_id)
        if after is None:
            _refuse(before, job_id, refusals.JobNotReleasable, "is neither delayed nor held by a worker")
        record_change(together, by, "job.release", f"job:{job_id}", before=before, after=after)
        together.execute("wake_workers")
    return ReleasedJob(after["status"], after["locked_by"])


def _refuse(state: Row | None, job_id: UUID | str, error: type[refusals.RequestRefused], why: str) -> NoReturn:
    if state is None:
        raise job_not_found(job_id)
    raise error(f"job {job_id} is {state['status']}: it {why}")


# Change jobs for a caller of the HTTP API, who may be restricted to one user and to a number of waiting jobs.


def enqueue_for_user(
    queries: Queries, request: EnqueueRequest, *, most_waiting: int, private_urls: bool = False
) -> list[EnqueuedJob]:
    """Enqueue, unless the user then has more than ``most_waiting`` jobs waiting.

    Raises InvalidPayload and RequestRefused: TooManyWaiting, and everything that ``enqueue`` raises.
    """
    with queries.transaction() as together:
        return _enqueue_within_limit(
            together,
            request.user_id,
            most_waiting,
            lambda: enqueue_requests(together, [request], private_urls=private_urls),
        )


def replay_for_user(queries: Queries, job_id: UUID, user: str | None, *, most_waiting: int, by: Author) -> EnqueuedJob:
    """As ``replay_job``, within the limit of ``enqueue_for_user``. Raises JobNotFound for a job of another user."""
    with queries.transaction() as together:
        owner = _owner_of(together, job_id, user)
        [job] = _enqueue_within_limit(together, owner, most_waiting, lambda: [replay_job(together, job_id, by=by)])
    return job


def cancel_for_user(queries: Queries, job_id: UUID, user: str | None, *, by: Author) -> Status:
    """As ``cancel_job``; the status is now ``cancelled``, or ``processing`` if the job was asked to stop.

    Raises JobNotFound, also for a job of another user, and JobIsFinal.
    """
    with queries.transaction() as together:
        _owner_of(together, job_id, user)
        status = cancel_job(together, job_id, by=by).status
    if status in FINAL - {"cancelled"}:
        raise refusals.JobIsFinal(f"job {job_id} is {status} already; nothing was changed")
    return status


def _enqueue_within_limit(
    together: Queries, user: str, most_waiting: int, enqueue: Callable[[], list[EnqueuedJob]]
) -> list[EnqueuedJob]:
    """Requests for one user run one after the other, so that none misses jobs that another one is adding."""
    together.execute("take_turn", user=user)
    jobs = enqueue()
    if not all(job.duplicate for job in jobs):  # duplicates were counted when they were enqueued
        waiting = together.rows("count_waiting", user=user, cap=most_waiting + 1)[0]["waiting"]
        if waiting > most_waiting:
            raise refusals.TooManyWaiting(
                f"user {user} would have more than {most_waiting} jobs waiting", "Wait until some of them have ended."
            )
    return jobs


def _owner_of(queries: Queries, job_id: UUID, user: str | None) -> str:
    found = queries.row_or_none("owned_jobs", ids=[job_id], user=user)
    if found is None:
        raise job_not_found(job_id)
    return found["user_id"]


# Failed jobs.


def list_dead_letters(
    queries: Queries,
    *,
    limit: int = 50,
    cursor: str | None = None,
    code: str | None = None,
    user: str | None = None,
) -> DeadLetters:
    """Failed jobs, the latest first, a full page at a time however few of them the filters choose.

    Raises InvalidRequest for a cursor that no page returned.
    """
    page = scan_dead_letters(queries, limit=limit, cursor=cursor, code=code, user=user)
    letters = list(page.letters)
    while page.cursor is not None and len(letters) < limit:
        page = scan_dead_letters(queries, limit=limit - len(letters), cursor=page.cursor, code=code, user=user)
        letters += page.letters
    return DeadLetters(letters, page.cursor)


def scan_dead_letters(
    queries: Queries, *, limit: int, cursor: str | None, code: str | None, user: str | None
) -> DeadLetters:
    """As ``list_dead_letters``, but reads at most FAR of them: a page may be short, even empty, and not be the last."""
    before = read_cursor(cursor)
    cap = limit + 1 if code is None and user is None else FAR
    found = queries.rows(
        "dead_letters", limit=limit + 1, cap=cap, before_time=before.at, before_id=before.id, code=code, user=user
    )
    letters = [DeadLetter(**{name: row[name] for name in DeadLetter._fields}) for row in found if row["id"]]
    if len(letters) > limit:
        last = letters[limit - 1]
        return DeadLetters(letters[:limit], write_cursor(Mark(last.finished_at, last.id)))
    if found and found[0]["scanned"] >= cap:
        return DeadLetters(letters, write_cursor(Mark(found[0]["reached_at"], found[0]["reached"])))
    return DeadLetters(letters, None)


def failures_by_code(queries: Queries, *, seconds: float = 86_400, cap: int = SAMPLE) -> list[FailureCode]:
    """The error codes of jobs that failed within the last ``seconds``, the most frequent first."""
    return queries.all(FailureCode, "failures_by_code", seconds=seconds, cap=cap)


# How jobs and provider calls ended lately. ``cap`` is how many of the latest rows are read.


def throughput(queries: Queries, *, cap: int = SAMPLE) -> list[Throughput]:
    """The jobs that ended in the last hour and in the last day; scaled up beyond ``cap`` jobs."""
    return queries.all(Throughput, "throughput", cap=cap)


def history(queries: Queries, *, seconds: float, spans: int, cap: int = SAMPLE) -> list[EndedSpan]:
    """The jobs that ended in each of the latest ``spans`` of ``seconds`` each, the oldest span first."""
    return queries.all(EndedSpan, "history", seconds=seconds, spans=spans, cap=cap)


def calls(queries: Queries, *, seconds: float = 3600, cap: int = SAMPLE) -> list[CallsOfKey]:
    """The provider calls of the last ``seconds``, by key, model and outcome."""
    return queries.all(CallsOfKey, "calls", seconds=seconds, cap=cap)


def duplicate_calls(queries: Queries, *, seconds: float = 86_400, cap: int = FAR) -> DuplicateCalls:
    """The provider calls of the last ``seconds`` that were, or may have been, paid for a second time."""
    return queries.one(DuplicateCalls, "duplicate_calls", seconds=seconds, cap=cap)
