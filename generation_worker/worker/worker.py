"""A worker: a pool of threads, the loops around it, and which of them wakes which."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from generation_worker.events import Events
from generation_worker.ports import FleetState, Signals, Storage, Store, StoreUnavailable
from generation_worker.worker import attempt, maintenance, poller, pool, settler
from generation_worker.worker.courier import Courier
from generation_worker.worker.lease import BEATS_PER_LEASE, Heartbeat, Lease, LeaseBook
from generation_worker.worker.loop import Loop
from generation_worker.worker.settings import WorkerOptions
from generation_worker.worker.signals import Listener, ProviderHints

FLEET_FOLLOWED = "fleet.followed"
"""Emitted when the fleet's settings change this worker's: ``concurrency``, ``poll_interval`` and ``paused``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDependencies:
    store: Store
    heartbeat_store: Store
    """On a connection of its own, so that no other statement delays the renewal of a lease."""
    signals: Signals | None
    """Without them the worker polls."""
    work: attempt.Work
    events: Events
    storage: Storage | None = None
    """Is swept; None if objects are not to be deleted."""
    slow_tasks: Sequence[maintenance.Task] = ()
    """Further maintenance tasks that may take long."""
    hints: ProviderHints = field(default_factory=ProviderHints)
    courier: Courier | None = None
    """Without it no webhook is delivered."""


class Worker:
    """It claims no job before ``claiming`` is set to true."""

    def __init__(self, settings: WorkerOptions, dependencies: WorkerDependencies) -> None:
        self.settings = settings
        self.store = dependencies.store
        self.events = dependencies.events
        self.hints = dependencies.hints
        self.courier = dependencies.courier
        self._dependencies = dependencies
        self.claiming = False
        self.fleet = FleetState("")
        self.leases = LeaseBook()
        self.pool = self._build_pool()
        self.settler = self._build_settler()
        self.heartbeat = self._build_heartbeat()
        self.listener = self._build_listener()
        self.poller = self._build_poller()
        self.maintenance = maintenance.Maintenance(self.store, self._tasks(), self.events)
        self.slow_maintenance = self._build_slow_maintenance()

    def start(self) -> None:
        self.pool.start()
        self._read_fleet_state()
        for loop in self.loops():
            loop.start()
        self.listener.start()
        if self.slow_maintenance:
            self.slow_maintenance.loop.start()
        if self.courier:
            self.courier.loop.start()

    def loops(self) -> list[Loop]:
        """The loops that a worker needs. It can work without its listener, courier and slow maintenance."""
        return [self.heartbeat.loop, self.settler.loop, self.maintenance.loop, self.poller.loop]

    def stuck(self) -> list[Lease]:
        """Attempts whose threads have not returned long after their deadline."""
        return self.pool.stuck(self.settings.overtime)

    def at_rest(self) -> bool:
        """Whether no job can be claimed, none runs, and all are written. Checked in the order in which jobs move."""
        return self.poller.empty and self.pool.busy == 0 and self.settler.waiting == 0 and len(self.leases) == 0

    # attempts

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
        """An error outside the attempt itself. The job is not settled: its lease expires, and counts as a crash."""
        self.leases.remove(lease)
        self.events.emit("attempt.broke", **lease.job.tags, exc_info=error)

    def _job_finished(self) -> None:
        self.poller.job_finished()

    def _job_due_in(self, seconds: float) -> None:
        self.poller.due_in(seconds)

    def _settled(self) -> None:
        self.poller.job_finished()
        if self.courier:
            self.courier.check_now()

    def _check_now(self) -> None:
        self.poller.check_now()
        if self.courier:
            self.courier.check_now()

    # the fleet's settings

    def _read_fleet_state(self) -> None:
        """Before the first claim. If the database does not answer now, the heartbeat reads it later."""
        with suppress(StoreUnavailable):
            if state := self._touch():
                self._follow(state)

    def _touch(self) -> FleetState | None:
        """Record that this worker lives; returns the fleet's state if it is not the known version."""
        info = self.settings.info._replace(concurrency=self.pool.size)
        return self._dependencies.heartbeat_store.touch_worker(
            info, busy=self.pool.busy, stuck=len(self.stuck()), known=self.fleet.version
        )

    def _follow(self, state: FleetState) -> None:
        """Apply the fleet's settings. Where there is none, the worker's own setting applies."""
        known, self.fleet = self.fleet, state
        if state._replace(version=known.version, woken=known.woken) != known:
            self._apply(state)
        self._check_now()

    def _apply(self, state: FleetState) -> None:
        size = state.concurrency or self.settings.concurrency
        self.pool.resize(size)
        self.poller.poll_interval = state.poll_interval or self.settings.poll_interval
        if self.courier:
            self.courier.follow(state.webhooks)
        self.events.emit(
            FLEET_FOLLOWED,
            concurrency=size,
            poll_interval=self.poller.poll_interval,
            paused=[pause.what for pause in state.pauses],
        )

    # construction

    def _build_pool(self) -> pool.ThreadPool:
        return pool.ThreadPool(
            self.settings.concurrency, self._attempt, finished=self._job_finished, failed=self._attempt_failed
        )

    def _build_settler(self) -> settler.Settler:
        policy = self.settings.policy
        return settler.Settler(
            self.store, policy, self.leases, self.events, due_in=self._job_due_in, written=self._settled
        )

    def _build_heartbeat(self) -> Heartbeat:
        store = self._dependencies.heartbeat_store
        return Heartbeat(
            store, self.leases, self.events, settings=self.settings, touch=self._touch, follow=self._follow
        )

    def _build_listener(self) -> Listener:
        signals, beat, notice = self._dependencies.signals, self.heartbeat.loop.wake, self.hints.post
        return Listener(signals, self.events, wake=self._check_now, beat=beat, notice=notice)

    def _build_poller(self) -> poller.Poller:
        return poller.Poller(
            self.store,
            self.settings,
            self.pool,
            self.leases,
            self.events,
            may_claim=lambda: self.claiming and self.heartbeat.proved,
            listening=lambda: self.listener.live,
        )

    def _tasks(self) -> list[maintenance.Task]:
        settings, store, events = self.settings, self.store, self.events
        beat = settings.lease / BEATS_PER_LEASE
        reclaim = partial(maintenance.reclaim_jobs, store, self.settler, events, timeout=settings.timeout)
        return [
            maintenance.Task("reclaim", min(10.0, beat), reclaim),
            maintenance.Task("expire", min(30.0, settings.lease / 2), partial(maintenance.expire_jobs, store, events)),
            maintenance.Task("hold", beat, partial(maintenance.park_paused_jobs, store, events)),
            maintenance.Task(
                "prune",
                settings.cleanup_interval,
                partial(maintenance.prune, store, events, retention=settings.retention),
            ),
        ]

    def _build_slow_maintenance(self) -> maintenance.Maintenance | None:
        """On a thread of its own: jobs of dead workers must be reclaimed also while a storage does not answer."""
        tasks = [*self._sweep_tasks(), *self._dependencies.slow_tasks]
        return maintenance.Maintenance(self.store, tasks, self.events, name=maintenance.SWEEP_TASK) if tasks else None

    def _sweep_tasks(self) -> list[maintenance.Task]:
        storage, settings = self._dependencies.storage, self.settings
        if storage is None:
            return []
        run = partial(maintenance.sweep, self.store, storage, self.events, keep_uploads=settings.keep_uploads)
        return [maintenance.Task(maintenance.SWEEP_TASK, settings.cleanup_interval, run)]
