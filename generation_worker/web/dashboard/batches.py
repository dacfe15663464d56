"""A batch: its jobs and their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Request, Response

from generation_worker.domain.job import FINAL
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.links import BATCHES, MANY, address
from generation_worker.web.dashboard.listing import Glances, Row, listed
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.render import render
from generation_worker.web.fleet_questions import Ask
from generation_worker.web.problems import Problem


class Batches(Protocol):
    def batch(self, batch_id: UUID, user: str | None) -> Sequence[Row]:
        """Its jobs, in their order. Raises StoreUnavailable."""
        ...


def batch_page_router(jobs: Batches, ask: Ask[Glances]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(f"{BATCHES}/{{batch_id}}")
    def show_batch(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], batch_id: UUID
    ) -> Response:
        found = listed(jobs.batch(batch_id, None), ask)
        if not found:
            raise Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
        counts = Counter[str](each.job["status"] for each in found)
        return render(
            request,
            "batch.html",
            batch_id=batch_id,
            jobs=found,
            counts=counts,
            done=set(counts) <= FINAL,
            cost=sum(each.job["cost"] for each in found if each.job["debited"]),
            many={word: address(f"{MANY}/{word}", batch_id=batch_id) for word in _possible(counts, caller)},
        )

    return router


def _possible(counts: Counter[str], caller: Caller) -> list[str]:
    """What could be done to its jobs together."""
    if not caller.may("operate"):
        return []
    return [
        *(["cancel"] if set(counts) - FINAL else []),
        *(["release"] if counts["scheduled"] + counts["rate_limited"] else []),
        *(["retry"] if counts["failed"] else []),
    ]
