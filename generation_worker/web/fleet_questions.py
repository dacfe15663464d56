"""What the fleet's routes are answered from, in their own words: answers that the database's questions give."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from generation_worker.domain.job import Status
from generation_worker.web.pause_answers import KnownPause


class Count(Protocol):
    @property
    def status(self) -> Status: ...
    @property
    def jobs(self) -> int: ...
    @property
    def exact(self) -> bool: ...


class Span(Protocol):
    @property
    def span(self) -> str: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def mean_seconds(self) -> float | None: ...


class Questions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def count_jobs(self) -> Sequence[Count]: ...

    def throughput(self, *, cap: int) -> Sequence[Span]: ...

    def pauses(self) -> Sequence[KnownPause]: ...

    def oldest_waiting(self) -> Sequence[Any]: ...

    def gates(self, *, limit: int) -> Sequence[Any]: ...

    def workers(self, *, limit: int) -> Sequence[Any]: ...


Q_co = TypeVar("Q_co", covariant=True)


class Ask(Protocol[Q_co]):
    """Lends somebody who answers questions, for the length of a block."""

    def __call__(self) -> AbstractContextManager[Q_co]: ...
