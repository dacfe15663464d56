"""The parts of a worker and how they are joined: who wakes whom, who asks whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from generation_worker.events import Events
from generation_worker.ports import FleetNews, Signals, Storage, Store, StoreUnavailable
from generation_worker.worker.attempt import Work
from generation_worker.worker.courier import Courier
from generation_worker.worker.heartbeat import BEATS_PER_LEASE, Heartbeat
from generation_worker.worker.holder import Holder
from generation_worker.worker.lease import Lease, LeaseBook
from generation_worker.worker.listener import Listener
from generation_worker.worker.loop import Loop
from generation_worker.worker.maintenance import Maintenance, Task
from generation_worker.worker.notices import Notices
from generation_worker.worker.poller import Poller
from generation_worker.worker.pool import Pool
from generation_worker.worker.promoter import Promoter
from generation_worker.worker.pruner import Pruner
from generation_worker.worker.reclaimer import Reclaimer
from generation_worker.worker.settings import WorkerSettings
from generation_worker.worker.settler import Settler
from generation_worker.worker.sweeper import TASK, Sweeper

FOLLOWED = "fleet.followed"
"""The event that the worker does something else from now on: ``concurrency``, ``poll_interval`` and ``paused``."""


class Crew:
    """A pool of threads and the loops around it. ``may_claim`` is asked before every claim."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        store: Store,
        heartbeat_store: Store,
        signals: Signals | None,
        storage: Storage | None,
        work: Work,
        events: Events,
        may_claim: Callable[[], bool],
        chores: Sequence[Task] = (),
        notices: Notices | None = None,
        courier: Courier | None = None,
    ) -> None:
        """``chores`` are further tasks that may take their time. Without a courier nobody is told anything."""
        self.settings = settings
        self.store = store
        self.events = events
        self._work = work
        self._heartbeat_store = heartbeat_store
        self.fleet = FleetNews("")
        self.courier = courier
        self.leases = LeaseBook()
        self.pool = Pool(
            settings.concurrency,
            self._attempt,
            finished=self._job_finished,
            failed=self._attempt_failed,
        )
        promoter = Promoter(store, events)
        self.settler = Settler(store, settings.policy, self.leases, events, due_in=self._due_in, written=self._settled)
        self.heartbeat = Heartbeat(
            heartbeat_store, self.leases, events, settings=settings, touch=self._touch, follow=self._follow
        )
        self.notices = notices or Notices()
        self.listener = Listener(
            signals, events, wake=self._look_now, beat=self.heartbeat.loop.wake, notice=self.notices.post
        )
        self.poller = Poller(
            store,
            settings,
            self.pool,
            self.leases,
            promoter,
            events,
            may_claim=lambda: may_claim() and self.heartbeat.proved,
            listening=lambda: self.listener.live,
        )
        self.maintenance = Maintenance(store, self._tasks(), events)
        # A thread of its own: while a storage does not answer, jobs of dead workers must be reclaimed all the same.
        slow = [*([self._sweep(storage)] if storage else []), *chores]
        self.sweeping = Maintenance(store, slow, events, name=TASK) if slow else None

    def start(self) -> None:
        self.pool.start()
        self._follow_the_fleet()
        for loop in (self.heartbeat.loop, self.settler.loop, self.maintenance.loop, self.poller.loop):
            loop.start()
        self.listener.start()
        if self.sweeping:
            self.sweeping.loop.start()
        if self.courier:
            self.courier.loop.start()

    def loops(self) -> list[Loop]:
        """The loops without which a worker does not work; it can do without its listener."""
        return [self.heartbeat.loop, self.settler.loop, self.maintenance.loop, self.poller.loop]

    def stuck(self) -> list[Lease]:
        """Attempts whose threads have not come back long after their time."""
        return self.pool.stuck(self.settings.overtime)

    def at_rest(self) -> bool:
        """Nothing can be claimed, nothing runs, everything is written; asked in the order in which work flows."""
        return self.poller.empty and self.pool.busy == 0 and self.settler.waiting == 0 and len(self.leases) == 0

    def _attempt(self, lease: Lease) -> None:
        job = lease.job
        self.events.emit(
            "attempt.started",
            **job.tags,
            kind=job.kind,
            provider=job.provider,
            waited=job.waited,
        )
        self.settler.put(lease, self._work(lease))

    def _attempt_failed(self, lease: Lease, error: BaseException) -> None:
        """Something around the attempt broke. Nobody settles it: its lease runs out, and that counts as a crash."""
        self.leases.remove(lease)
        self.events.emit("attempt.broke", **lease.job.tags, exc_info=error)

    def _due_in(self, seconds: float) -> None:
        self.poller.due_in(seconds)

    def _job_finished(self) -> None:
        self.poller.job_finished()

    def _settled(self) -> None:
        self.poller.job_finished()
        if self.courier:
            self.courier.look_now()

    def _look_now(self) -> None:
        self.poller.look_now()
        if self.courier:
            self.courier.look_now()

    def _follow_the_fleet(self) -> None:
        """Before the first claim; if the database does not answer just now, the heartbeat brings it."""
        with suppress(StoreUnavailable):
            if news := self._touch():
                self._follow(news)

    def _touch(self) -> FleetNews | None:
        card = self.settings.card._replace(concurrency=self.pool.size)
        known = self.fleet.version
        return self._heartbeat_store.touch_worker(card, busy=self.pool.busy, stuck=len(self.stuck()), known=known)

    def _follow(self, news: FleetNews) -> None:
        """Do from now on as the whole fleet does. Where it says nothing, what this worker was started with holds."""
        known, self.fleet = self.fleet, news
        if news._replace(version=known.version, woken=known.woken) != known:
            self._change(news)
        self._look_now()

    def _change(self, news: FleetNews) -> None:
        size = news.concurrency or self.settings.concurrency
        self.pool.resize(size)
        self.poller.poll_interval = news.poll_interval or self.settings.poll_interval
        if self.courier:
            self.courier.follow(news.webhooks)
        self.events.emit(
            FOLLOWED,
            concurrency=size,
            poll_interval=self.poller.poll_interval,
            paused=[pause.what for pause in news.pauses],
        )

    def _tasks(self) -> list[Task]:
        settings = self.settings
        reclaimer = Reclaimer(self.store, self.settler, self.events, timeout=settings.timeout)
        outbox = self.courier and self.courier.outbox
        pruner = Pruner(self.store, self.events, retention=settings.retention, outbox=outbox)
        beat = settings.lease / BEATS_PER_LEASE
        return [
            Task("reclaim", min(10.0, beat), reclaimer.reclaim),
            Task("expire", min(30.0, settings.lease / 2), pruner.expire),
            Task("hold", beat, Holder(self.store, self.events).hold),
            Task("prune", settings.cleanup_interval, pruner.prune),
        ]

    def _sweep(self, storage: Storage) -> Task:
        sweeper = Sweeper(self.store, storage, self.events, keep_uploads=self.settings.keep_uploads)
        return Task(TASK, self.settings.cleanup_interval, sweeper.sweep)
