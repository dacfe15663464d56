"""One thing to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generation_worker.domain.finding import Verdict, skipped

Verdicts = Verdict | Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` begins with the area, as in ``storage.put``.

    ``prepare`` is done before and does not count as its time. If one of ``needs``, checks of the same area, found a
    fault or was skipped, then this one is skipped.
    """

    name: str
    run: Callable[[], Verdicts]
    needs: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None


def not_looked_at(name: str, reason: str) -> Check:
    """A check that only says why there is nothing to look at."""
    return Check(name, lambda: skipped(reason))
