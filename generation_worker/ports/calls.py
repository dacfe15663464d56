"""What the statements around a paid call are told, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from generation_worker.domain.gate import Verdict


class CallBegun(NamedTuple):
    """Whether a paid call may be made. ``number`` is None when it may not.

    With ``resume`` it is an earlier call of that number that goes on: the provider keeps its answer under this id.
    ``wait`` and ``reason`` are given if the key's gate is closed.
    """

    held: bool
    cancel_requested: bool
    paid: int
    number: int | None
    resume: str | None = None
    key_label: str | None = None
    """The key that the call is made with; one that goes on may have been begun with another."""
    key_is_held: bool = False
    """A living worker holds the key of the call that goes on."""
    permit: int | None = None
    wait: float | None = None
    reason: str | None = None
    stamped_after: float = 0.0
    """Seconds from the statement's arrival to the stamp: waiting for the gate's row does not make a permit older."""


class Admission(NamedTuple):
    """The permit as it is stamped now, or how many seconds to wait and why. For ``stamped_after`` see CallBegun."""

    permit: int
    wait: float | None
    reason: str | None
    stamped_after: float = 0.0


class GateNews(NamedTuple):
    """What the end of a call has done to the gate of its key."""

    breaker_before: str
    breaker: str
    closed_for: float | None
    """Seconds until the gate may let somebody in; None or less than 0 if it does."""
    another_way: bool
    """The job need not wait: another key of the fleet lets calls through, or a second provider may make the image."""


@dataclass(frozen=True, slots=True)
class CallReport:
    """What came of a provider call. ``spent`` is None while nobody knows whether it is charged."""

    milliseconds: int
    spent: bool | None
    model: str | None = None
    provider_ref: str | None = None
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    verdict: Verdict | None = None
    wait: float | None = None
    reason: str | None = None


class Staged(NamedTuple):
    """An image that was paid for and could not be stored: the provider's bytes, and who made them."""

    data: bytes
    provider: str
    model: str
