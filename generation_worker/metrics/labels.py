"""What may become the value of a label: what the code knows, so that no user can make a new series."""

from __future__ import annotations

from collections.abc import Iterable

from generation_worker.domain.errors import JobError
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.payload import KINDS

OTHER = "other"


class Label:
    """The known values of one label; whatever else comes is ``other``."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = frozenset(known)

    def of(self, value: str | None) -> str:
        return value if value in self.known else OTHER


def codes(root: type[JobError] = JobError) -> set[str]:
    """The codes of all errors that an attempt can end with."""
    return {root.code}.union(*(codes(child) for child in root.__subclasses__()))


def providers(names: Iterable[str]) -> Label:
    """The providers called ``names``, and the lane of jobs that need none."""
    return Label([*names, NO_PROVIDER])


KIND = Label(KINDS)
OUTCOME = Label(("completed", "failed", "blocked", "rate_limited", "cancelled", "released", "crashed"))
DELIVERY = Label(("delivered", "failed", "dead", "lost"))
STREAM_LIMIT = Label(("streams", "jobs", "key"))
CALL_OUTCOME = Label(["ok", "stopped", *codes()])
