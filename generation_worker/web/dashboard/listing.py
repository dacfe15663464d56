"""Jobs as lists show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from generation_worker.web.dashboard.wishes import wish_of
from generation_worker.web.fleet_questions import Ask

Row = Mapping[str, Any]


class Glances(Protocol):
    def job_glances(self, job_ids: Sequence[UUID]) -> Mapping[UUID, Any]:
        """What is shown beside a job's columns. Raises StoreUnavailable."""
        ...


class Listed(NamedTuple):
    """A row of a list. Where there is no glance, the job has gone since its row was read."""

    job: Row
    glance: Any
    wish: str | None


def listed(rows: Sequence[Row], ask: Ask[Glances]) -> list[Listed]:
    if not rows:
        return []
    with ask() as questions:
        glances = questions.job_glances([row["id"] for row in rows])
    return list(_beside(rows, glances))


def _beside(rows: Sequence[Row], glances: Mapping[UUID, Any]) -> Iterator[Listed]:
    for row in rows:
        glance = glances.get(row["id"])
        yield Listed(row, glance, glance and wish_of(glance.prompt, glance.inputs, glance.operations))
