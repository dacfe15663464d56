"""The parts of a worker and how they are joined: who wakes whom, who asks whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from generation_worker.events import Events
from generation_worker.ports import FleetState, Signals, Storage, Store, StoreUnavailable
from generation_worker.worker.attempt import Work
from generation_worker.worker.courier import Courier
from generation_worker.worker.lease import BEATS_PER_LEASE, Heartbeat, Lease, LeaseBook
from generation_worker.worker.loop import Loop
from generation_worker.worker.maintenance import SWEEP_TASK, Holder, Maintenance, Pruner, Reclaimer, Sweeper, Task
from generation_worker.worker.poller import Poller, Promoter
from generation_worker.worker.pool import Pool
from generation_worker.worker.settings import WorkerSettings
from generation_worker.worker.settler import Settler
from generation_worker.worker.signals import Listener, ProviderHints

# What a worker is given to work with.


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDependencies:
    store: Store
    heartbeat_store: Store
    """On a connection of its own, so that no other statement keeps a lease from being renewed."""
    signals: Signals | None
    """Without them the worker polls."""
    work: Work
    events: Events
    storage: Storage | None = None
    """Is swept of what nobody will ask for."""
    chores: Sequence[Task] = ()
    """Further tasks that may take their time."""
    notices: ProviderHints = field(default_factory=ProviderHints)
    courier: Courier | None = None
    """Without one nobody is told anything."""


FOLLOWED = "fleet.followed"
"""The event that the worker does something else from now on: ``concurrency``, ``poll_interval`` and ``paused``."""


class Worker:
    """A pool of threads and the loops around it. ``may_claim`` is asked before every claim."""

    def __init__(
        self, settings: WorkerSettings, dependencies: WorkerDependencies, *, may_claim: Callable[[], bool]
    ) -> None:
        self.settings = settings
        self.store = dependencies.store
        self.events = dependencies.events
        self.notices = dependencies.notices
        self.courier = dependencies.courier
        self._dependencies = dependencies
        self._may_claim = may_claim
        self.fleet = FleetState("")
        self.leases = LeaseBook()
        self.pool = self._build_pool()
        self.settler = self._build_settler()
        self.heartbeat = self._build_heartbeat()
        self.listener = self._build_listener()
        self.poller = self._build_poller()
        self.maintenance = Maintenance(self.store, self._tasks(), self.events)
        self.sweeping = self._build_sweeping()

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
        self.settler.put(lease, self._dependencies.work(lease))

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

    def _touch(self) -> FleetState | None:
        store, known = self._dependencies.heartbeat_store, self.fleet.version
        card = self.settings.card._replace(concurrency=self.pool.size)
        return store.touch_worker(card, busy=self.pool.busy, stuck=len(self.stuck()), known=known)

    def _follow(self, news: FleetState) -> None:
        """Do from now on as the whole fleet does. Where it says nothing, what this worker was started with holds."""
        known, self.fleet = self.fleet, news
        if news._replace(version=known.version, woken=known.woken) != known:
            self._change(news)
        self._look_now()

    def _change(self, news: FleetState) -> None:
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

    def _build_pool(self) -> Pool:
        return Pool(self.settings.concurrency, self._attempt, finished=self._job_finished, failed=self._attempt_failed)

    def _build_settler(self) -> Settler:
        policy = self.settings.policy
        return Settler(self.store, policy, self.leases, self.events, due_in=self._due_in, written=self._settled)

    def _build_heartbeat(self) -> Heartbeat:
        store = self._dependencies.heartbeat_store
        return Heartbeat(
            store, self.leases, self.events, settings=self.settings, touch=self._touch, follow=self._follow
        )

    def _build_listener(self) -> Listener:
        signals, beat, notice = self._dependencies.signals, self.heartbeat.loop.wake, self.notices.post
        return Listener(signals, self.events, wake=self._look_now, beat=beat, notice=notice)

    def _build_poller(self) -> Poller:
        return Poller(
            self.store,
            self.settings,
            self.pool,
            self.leases,
            Promoter(self.store, self.events),
            self.events,
            may_claim=lambda: self._may_claim() and self.heartbeat.proved,
            listening=lambda: self.listener.live,
        )

    def _build_sweeping(self) -> Maintenance | None:
        """On a thread of its own: jobs of dead workers must be reclaimed while a storage does not answer, too."""
        storage = self._dependencies.storage
        slow = [*([self._sweep(storage)] if storage else []), *self._dependencies.chores]
        return Maintenance(self.store, slow, self.events, name=SWEEP_TASK) if slow else None

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
        return Task(SWEEP_TASK, self.settings.cleanup_interval, sweeper.sweep)
