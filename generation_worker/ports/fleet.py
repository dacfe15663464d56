"""What a worker says of itself to the fleet, and what it hears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from generation_worker.ports.leases import Key


class WorkerCard(NamedTuple):
    """How a worker makes itself known to the fleet."""

    id: str
    version: str
    providers: Sequence[str]
    concurrency: int
    keys: Sequence[Key] = ()


class FleetPause(NamedTuple):
    """Something that nobody starts. ``what`` is ``everything``, ``provider <name>`` or ``kind <name>``."""

    what: str
    since: str
    by: str | None
    reason: str | None


class DisabledEndpoint(NamedTuple):
    """An endpoint that is told nothing any more until somebody enables it."""

    id: str
    since: str
    reason: str


class FleetNews(NamedTuple):
    """What the whole fleet is to follow; None where each worker keeps what it was started with.

    ``version`` is another one for each content. Pauses of users are not told.
    """

    version: str
    concurrency: int | None = None
    poll_interval: float | None = None
    pauses: tuple[FleetPause, ...] = ()
    woken: str | None = None
    """When somebody wanted every worker to look for work, if that was ever so."""
    webhooks: tuple[str, ...] = ()
    """Events that endpoints are to be told of; none if there is no endpoint that is enabled."""
    disabled: tuple[DisabledEndpoint, ...] = ()
    """Twenty of them at most."""
