"""Tasks that one worker of the fleet does now and then. Nobody leads: whoever finds a task due does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from generation_worker.domain.settlement import Crashed
from generation_worker.events import Events
from generation_worker.ports import Outbox, Reclaim, Storage, Store, StoredObject, StoreUnavailable
from generation_worker.worker import image_keys as uploads
from generation_worker.worker.image_keys import KEY
from generation_worker.worker.lease import Clock, Lease
from generation_worker.worker.loop import Loop
from generation_worker.worker.settler import Settler


@dataclass(frozen=True, slots=True)
class Task:
    """``run`` is bounded and may be done twice; ``every`` is seconds between two runs in the whole fleet."""

    name: str
    every: float
    run: Callable[[], None]


class Maintenance:
    def __init__(self, store: Store, tasks: Sequence[Task], events: Events, *, name: str = "maintenance") -> None:
        self._store = store
        self._tasks = tasks
        self._events = events
        self.loop = Loop(name, self.step, events)

    def step(self) -> float:
        for task in self._tasks:
            if self._store.claim_task(task.name, every=task.every):
                self._do(task)
        return min(task.every for task in self._tasks) / 2

    def _do(self, task: Task) -> None:
        try:
            task.run()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one task must not keep the others from being done
            self._events.emit("maintenance.failed", task=task.name, exc_info=error)
            self._store.finish_task(task.name, error=repr(error)[:500])
        else:
            self._store.finish_task(task.name, error=None)


# Checks the books now and then, and keeps what it found for those who ask more often than the books can be checked.


AUDIT_TASK = "audit"

Audit = Callable[[], Mapping[str, int | None]]
"""How many rows break each invariant; None for one that could not be checked in its time. Raises StoreUnavailable."""


class Auditor:
    def __init__(self, store: Store, audit: Audit, events: Events) -> None:
        self._store = store
        self._audit = audit
        self._events = events

    def check(self) -> None:
        """Check every invariant once, and tell of those that do not hold."""
        found = self._audit()
        broken = {name: rows for name, rows in found.items() if rows}
        unchecked = [name for name, rows in found.items() if rows is None]
        self._store.save_findings(AUDIT_TASK, {"violations": dict(found)})
        self._events.emit("ledger.violated" if broken else "ledger.checked", broken=broken, unchecked=unchecked)


# Keeps what is paused out of the claims' way.


HELD_AT_ONCE = 2000
MOST_ROUNDS = 50


class Holder:
    """Puts paused jobs aside as they come to the front, and gives those back whose pause is over.

    A pause does not need it to hold, nor a job that was not put aside to start: it only spares claims what they would
    read in vain.
    """

    def __init__(self, store: Store, events: Events) -> None:
        self._store = store
        self._events = events

    def hold(self) -> None:
        held = self._rounds(self._store.park_paused_jobs, enough=HELD_AT_ONCE // 2)
        freed = self._rounds(self._store.unpark_jobs, enough=1)
        if held or freed:
            self._events.emit("jobs.held", held=held, freed=freed)

    def _rounds(self, move: Callable[..., int], *, enough: int) -> int:
        """Until a round moves less than that; the total. It goes on next time if there is very much."""
        total = 0
        for _ in range(MOST_ROUNDS):
            moved = move(limit=HELD_AT_ONCE)
            total += moved
            if moved < enough:
                break
        return total


# Ends what waited too long, and deletes what is kept no longer.


PRUNED_AT_ONCE = 500
MOST_BATCHES = 20
"""Bounds one run; the next one goes on."""
DELIVERIES_KEPT = 30 * 86_400.0
"""Seconds for which ended deliveries can be looked at and replayed; never longer than jobs are kept."""


class Pruner:
    def __init__(self, store: Store, events: Events, *, retention: float, outbox: Outbox | None = None) -> None:
        self._store = store
        self._events = events
        self._retention = retention
        self._outbox = outbox

    def expire(self) -> None:
        """Fail, with their refund, jobs that still wait after their deadline."""
        for _ in range(MOST_BATCHES):
            expired = self._store.expire_jobs(limit=PRUNED_AT_ONCE)
            for job in expired:
                self._events.emit(
                    "job.expired",
                    job=job.id,
                    trace_id=job.trace_id,
                    traceparent=job.traceparent,
                    age=job.age,
                    error_code="deadline_exceeded",
                )
            if len(expired) < PRUNED_AT_ONCE:
                return

    def prune(self) -> None:
        """Delete final jobs older than the retention (seconds; 0 keeps them for ever), and images staged in vain.

        Deliveries that ended go after a month, or with the jobs; what is known of deleted uploads, with the jobs.
        """
        self._store.prune_staged(limit=PRUNED_AT_ONCE)
        self._prune_deliveries()
        if self._retention <= 0:
            return
        self._prune_swept()
        for _ in range(MOST_BATCHES):
            pruned = self._store.prune_jobs(retention=self._retention, limit=PRUNED_AT_ONCE)
            if pruned:
                self._events.emit("jobs.pruned", number=pruned)
            if pruned < PRUNED_AT_ONCE:
                return

    def _prune_swept(self) -> None:
        for _ in range(MOST_BATCHES):
            if self._store.prune_swept(retention=self._retention, limit=PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                return

    def _prune_deliveries(self) -> None:
        if self._outbox is None:
            return
        retention = min(self._retention or DELIVERIES_KEPT, DELIVERIES_KEPT)
        for _ in range(MOST_BATCHES):
            if self._outbox.prune_deliveries(retention=retention, limit=PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                return


# Takes back jobs whose worker fell silent: an expired lease is only another way in which an attempt ends.


RECLAIMED_AT_ONCE = 100
LEASE = 30.0
"""Seconds that the takeover holds: long enough to write a settlement, short if this worker dies too."""


class Reclaimer:
    def __init__(
        self,
        store: Store,
        settler: Settler,
        events: Events,
        *,
        timeout: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._settler = settler
        self._events = events
        self._timeout = timeout
        self._clock = clock

    def reclaim(self) -> None:
        """Take over what has expired and settle it as crashed."""
        while True:
            now = self._clock()
            reclaimed = self._store.reclaim_jobs(limit=RECLAIMED_AT_ONCE, lease=LEASE)
            for taken in reclaimed:
                self._settle(taken, now)
            if len(reclaimed) < RECLAIMED_AT_ONCE:
                return

    def _settle(self, taken: Reclaim, now: float) -> None:
        job = taken.job
        timed_out = taken.held_for >= self._timeout or job.seconds_left <= 0
        self._events.emit(
            "lease.reclaimed",
            **job.tags,
            worker=taken.worker,
            seconds=taken.held_for,
            kind=job.kind,
            provider=job.provider,
        )
        lease = Lease(job, claimed_at=now, duration=LEASE, timeout=self._timeout, clock=self._clock)
        self._settler.put(lease, Crashed(taken.worker, timed_out=timed_out))


# Removes objects that nobody will ask for: an attempt stored them, and its job ended without them; or somebody has
# uploaded them, and no job names them for long.


SWEEP_TASK = "sweep"
FOLDERS = ("images/", "thumbnails/", uploads.UPLOADS)
"""Searched in this order, round after round."""
PAGE = 500
MOST_PAGES = 20
"""Bounds one run; the next one goes on where it ended, whichever worker does it."""
GRACE = 86_400.0
"""Seconds for which nothing is touched, whatever the database says: time for a person who wants to look."""


class Sweeper:
    """``keep_uploads``: for so many seconds, whether a job names them or not; 0 keeps them for ever."""

    def __init__(
        self, store: Store, storage: Storage, events: Events, *, grace: float = GRACE, keep_uploads: float = 0
    ) -> None:
        self._store = store
        self._storage = storage
        self._events = events
        self._grace = grace
        self._keep_uploads = keep_uploads

    def sweep(self) -> None:
        """Go on with the round through the storage, page by page, and begin the next one when it is done."""
        self._storage.discard_unfinished(older_than=self._grace)
        cursor = self._store.read_cursor(SWEEP_TASK)
        for _ in range(MOST_PAGES):
            cursor = self._sweep_page(cursor or FOLDERS[0])
            self._store.save_cursor(SWEEP_TASK, cursor)
            if cursor is None:
                return

    def _sweep_page(self, cursor: str) -> str | None:
        """Deal with what comes after ``cursor``; where to go on, or None at the end of a round."""
        folder = next(folder for folder in FOLDERS if cursor.startswith(folder))
        page = self._storage.keys(folder, start_after=cursor, limit=PAGE)
        self._remove(page)
        return page[-1].key if page else _folder_after(folder)

    def _remove(self, page: list[StoredObject]) -> None:
        orphans, stale = self._orphans(page), self._stale_uploads(page)
        for key in orphans:
            self._storage.delete(key)
        self._delete_uploads(stale)
        if orphans or stale:
            self._events.emit("objects.swept", number=len(orphans) + len(stale))

    def _delete_uploads(self, keys: Sequence[str]) -> None:
        """Those that are deleted are noted, even if the storage fails half-way: nobody will list them again."""
        deleted: list[str] = []
        try:
            for key in keys:
                self._storage.delete(key)
                deleted.append(key)
        finally:
            if deleted:
                self._store.note_swept(deleted)

    def _orphans(self, page: list[StoredObject]) -> list[str]:
        made = [(match["job"], stored) for stored in page if (match := KEY.fullmatch(stored.key))]
        return self._store.find_orphans(made, age=self._grace) if made else []

    def _stale_uploads(self, page: list[StoredObject]) -> list[str]:
        uploaded = [stored for stored in page if uploads.UPLOAD_KEY.fullmatch(stored.key)] if self._keep_uploads else []
        return self._store.find_stale_uploads(uploaded, age=self._keep_uploads) if uploaded else []


def _folder_after(folder: str) -> str | None:
    """The one after ``folder``, as a cursor before its first key."""
    following = FOLDERS[FOLDERS.index(folder) + 1 :]
    return following[0] if following else None
