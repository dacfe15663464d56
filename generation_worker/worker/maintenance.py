"""Maintenance: tasks that one worker of the fleet runs from time to time.

There is no leader. A row for each task holds the time of its next run, and the worker that takes the row runs the task.
Each task is a function that is bounded and may run twice; the next run continues where it stopped.

    reclaim   reclaim_jobs       jobs whose worker died
    expire    expire_jobs        jobs that still wait after their deadline
    hold      park_paused_jobs   paused jobs, which claims then need not read
    prune     prune              rows that are older than the retention
    sweep     sweep              stored objects that nothing refers to
    audit     audit_ledger       the invariants of the books
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from generation_worker.domain.settlement import Crashed
from generation_worker.events import Events
from generation_worker.ports import Storage, Store, StoredObject, StoreUnavailable
from generation_worker.worker.image_keys import IMAGE_KEY, UPLOAD_KEY, UPLOADS
from generation_worker.worker.lease import Clock, Lease
from generation_worker.worker.loop import Loop
from generation_worker.worker.settler import Settler

BATCH = 500
"""Rows that one statement deletes or ends."""
MOST_BATCHES = 20
"""Bounds one run."""


@dataclass(frozen=True, slots=True)
class Task:
    """``every`` is the number of seconds between two runs in the whole fleet."""

    name: str
    every: float
    run: Callable[[], None]


class Maintenance:
    """Runs due tasks, one after the other, in a thread of its own."""

    def __init__(self, store: Store, tasks: Sequence[Task], events: Events, *, name: str = "maintenance") -> None:
        self._store = store
        self._tasks = tasks
        self._events = events
        self.loop = Loop(name, self.step, events)

    def step(self) -> float:
        for task in self._tasks:
            if self._store.claim_task(task.name, every=task.every):
                self._run(task)
        return min(task.every for task in self._tasks) / 2

    def _run(self, task: Task) -> None:
        try:
            task.run()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a task that fails must not stop the other tasks
            self._events.emit("maintenance.failed", task=task.name, exc_info=error)
            self._store.finish_task(task.name, error=repr(error)[:500])
        else:
            self._store.finish_task(task.name, error=None)


# reclaim

RECLAIM_BATCH = 100
RECLAIM_LEASE = 30.0
"""Seconds that a reclaimed job is leased for: enough to write its settlement, and short if this worker dies too."""


def reclaim_jobs(
    store: Store, settler: Settler, events: Events, *, timeout: float, clock: Clock = time.monotonic
) -> None:
    """Take over jobs whose lease has expired, and settle each as crashed: this is one more way for an attempt to end.

    ``timeout`` is the longest time of an attempt, in seconds.
    """
    while True:
        now = clock()
        reclaimed = store.reclaim_jobs(limit=RECLAIM_BATCH, lease=RECLAIM_LEASE)
        for job, worker, held_for in reclaimed:
            events.emit(
                "lease.reclaimed",
                **job.tags,
                worker=worker,
                seconds=held_for,
                kind=job.kind,
                provider=job.provider,
            )
            lease = Lease(job, claimed_at=now, duration=RECLAIM_LEASE, timeout=timeout, clock=clock)
            settler.put(lease, Crashed(worker, timed_out=held_for >= timeout or job.seconds_left <= 0))
        if len(reclaimed) < RECLAIM_BATCH:
            return


# expire


def expire_jobs(store: Store, events: Events) -> None:
    """Fail jobs that still wait after their deadline. Each gets its refund."""
    for _ in range(MOST_BATCHES):
        expired = store.expire_jobs(limit=BATCH)
        for job in expired:
            events.emit(
                "job.expired",
                job=job.id,
                trace_id=job.trace_id,
                traceparent=job.traceparent,
                age=job.age,
                error_code="deadline_exceeded",
            )
        if len(expired) < BATCH:
            return


# hold

PARK_BATCH = 2000
MOST_PARK_BATCHES = 50


def park_paused_jobs(store: Store, events: Events) -> None:
    """Park paused jobs that come to the front of a lane, and unpark jobs whose pause has ended.

    Pauses take effect without it, and jobs that were not parked start without it. It only keeps claims from reading
    rows that they may not take.
    """
    parked = _repeat(store.park_paused_jobs, while_at_least=PARK_BATCH // 2)
    unparked = _repeat(store.unpark_jobs, while_at_least=1)
    if parked or unparked:
        events.emit("jobs.held", held=parked, freed=unparked)


def _repeat(move: Callable[..., int], *, while_at_least: int) -> int:
    """Move batches of jobs until one is smaller than ``while_at_least``; returns how many jobs moved."""
    total = 0
    for _ in range(MOST_PARK_BATCHES):
        moved = move(limit=PARK_BATCH)
        total += moved
        if moved < while_at_least:
            break
    return total


# prune

DELIVERIES_KEPT = 30 * 86_400.0
"""Seconds for which ended deliveries can be shown and replayed; never longer than jobs are kept."""


def prune(store: Store, events: Events, *, retention: float) -> None:
    """Delete rows that are no longer needed.

    Final jobs, and the record of deleted uploads, after the ``retention`` (seconds; 0 keeps them for ever). Ended
    deliveries after a month, or with their jobs if that is sooner. Staged images when their job is over.
    """
    store.prune_staged(limit=BATCH)
    deliveries_kept = min(retention or DELIVERIES_KEPT, DELIVERIES_KEPT)
    _delete_in_batches(lambda: store.prune_deliveries(retention=deliveries_kept, limit=BATCH))
    if retention <= 0:
        return
    _delete_in_batches(lambda: store.prune_swept(retention=retention, limit=BATCH))
    _delete_in_batches(lambda: _prune_jobs(store, events, retention))


def _prune_jobs(store: Store, events: Events, retention: float) -> int:
    pruned = store.prune_jobs(retention=retention, limit=BATCH)
    if pruned:
        events.emit("jobs.pruned", number=pruned)
    return pruned


def _delete_in_batches(delete: Callable[[], int]) -> None:
    for _ in range(MOST_BATCHES):
        if delete() < BATCH:
            return


# sweep

SWEEP_TASK = "sweep"
FOLDERS = ("images/", "thumbnails/", UPLOADS)
"""Searched in this order, again and again."""
PAGE = 500
MOST_PAGES = 20
"""Bounds one run. The position is kept in the database, so any worker can continue."""
SWEEP_GRACE = 86_400.0
"""Seconds for which every object is kept, whatever the database says: time for a person who wants to look."""


def sweep(
    store: Store, storage: Storage, events: Events, *, grace: float = SWEEP_GRACE, keep_uploads: float = 0
) -> None:
    """Delete stored objects that nothing refers to, page by page.

    These are images whose attempt stored them and whose job ended without them, and uploads older than
    ``keep_uploads`` seconds (0 keeps them for ever) that no waiting or running job names.
    """
    storage.discard_unfinished(older_than=grace)
    cursor = store.read_cursor(SWEEP_TASK)
    for _ in range(MOST_PAGES):
        cursor = cursor or FOLDERS[0]
        folder = next(folder for folder in FOLDERS if cursor.startswith(folder))
        page = storage.keys(folder, start_after=cursor, limit=PAGE)
        _sweep_page(store, storage, events, page, grace=grace, keep_uploads=keep_uploads)
        cursor = page[-1].key if page else _folder_after(folder)
        store.save_cursor(SWEEP_TASK, cursor)
        if cursor is None:
            return


def _sweep_page(
    store: Store, storage: Storage, events: Events, page: list[StoredObject], *, grace: float, keep_uploads: float
) -> None:
    images = [(match["job"], stored) for stored in page if (match := IMAGE_KEY.fullmatch(stored.key))]
    uploads = [stored for stored in page if UPLOAD_KEY.fullmatch(stored.key)] if keep_uploads else []
    orphans = store.find_orphans(images, age=grace) if images else []
    stale = store.find_stale_uploads(uploads, age=keep_uploads) if uploads else []
    for key in orphans:
        storage.delete(key)
    _delete_uploads(store, storage, stale)
    if orphans or stale:
        events.emit("objects.swept", number=len(orphans) + len(stale))


def _delete_uploads(store: Store, storage: Storage, keys: Sequence[str]) -> None:
    """Record each deleted upload, even if the storage fails half-way: no later page lists it again."""
    deleted: list[str] = []
    try:
        for key in keys:
            storage.delete(key)
            deleted.append(key)
    finally:
        if deleted:
            store.note_swept(deleted)


def _folder_after(folder: str) -> str | None:
    """The next folder, as a cursor before its first key; None after the last folder."""
    following = FOLDERS[FOLDERS.index(folder) + 1 :]
    return following[0] if following else None


# audit

AUDIT_TASK = "audit"

Audit = Callable[[], Mapping[str, int | None]]
"""The number of rows that violate each invariant; None for one that could not be checked in time.

Raises StoreUnavailable.
"""


def audit_ledger(store: Store, audit: Audit, events: Events) -> None:
    """Check every invariant once and save the result: it is read more often than the books can be checked."""
    found = audit()
    broken = {name: rows for name, rows in found.items() if rows}
    unchecked = [name for name, rows in found.items() if rows is None]
    store.save_findings(AUDIT_TASK, {"violations": dict(found)})
    events.emit("ledger.violated" if broken else "ledger.checked", broken=broken, unchecked=unchecked)
