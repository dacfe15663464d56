"""Proves that this worker lives: one statement renews every lease it holds and brings back who is to be cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable

from generation_worker.events import Events
from generation_worker.ports import FleetNews, Renewal, Store
from generation_worker.worker.lease import PROVED_FOR, Clock, Lease, LeaseBook
from generation_worker.worker.loop import Loop
from generation_worker.worker.settings import WorkerSettings

BEATS_PER_LEASE = 4
STATEMENTS_PER_BEAT = 2
"""The leases are renewed, and the worker says that it lives."""


class Heartbeat:
    """Beats on a connection of its own: a busy pool must not cost a lease. It brings what the fleet is to follow."""

    def __init__(
        self,
        store: Store,
        leases: LeaseBook,
        events: Events,
        *,
        settings: WorkerSettings,
        touch: Callable[[], FleetNews | None],
        follow: Callable[[FleetNews], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._leases = leases
        self._events = events
        self._settings = settings
        self._touch = touch
        self._follow = follow
        self._clock = clock
        self._proved_at = clock()
        self.loop = Loop("heartbeat", self.step, events, longest_pause=settings.lease / BEATS_PER_LEASE)

    @property
    def proved(self) -> bool:
        """Whether this worker could prove a lease now. Without that it must not claim."""
        return self._clock() - self._proved_at <= self._settings.lease * PROVED_FOR

    def step(self) -> float:
        sent_at = self._clock()
        held = self._leases.all()
        self._renew(held, sent_at)
        news = self._touch()
        self._proved_at = sent_at
        if news is not None:
            self._follow(news)
        return self._settings.lease / BEATS_PER_LEASE

    def _renew(self, held: list[Lease], sent_at: float) -> None:
        if not held:
            return
        renewed = self._store.renew_leases(
            [(lease.job.id, lease.job.lease_token) for lease in held],
            lease=self._settings.lease,
            timeout=self._settings.timeout,
            grace=self._settings.overtime,
        )
        for lease in held:
            self._told(lease, renewed.get(lease.job.id), sent_at)

    def _told(self, lease: Lease, renewal: Renewal | None, sent_at: float) -> None:
        if renewal is None:
            self._lost(lease)
            return
        if renewal.renewed:
            lease.prove(sent_at)
        if renewal.cancel_requested:
            lease.cancel()

    def _lost(self, lease: Lease) -> None:
        """Somebody else has the job, or it was settled between our look at the book and the statement."""
        lease.lose()
        self._leases.remove(lease)
