"""The same change to many jobs: first how many it would be, then the button that makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi import Form as FormBody

from generation_worker.domain.refusals import InvalidRequest
from generation_worker.web.bulk import Action, JobChoice, Many, Step
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.choices import Choosing
from generation_worker.web.dashboard.links import FAILED, JOBS, MANY, address
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import go_back, render

Word = Literal["cancel", "release", "retry"]


class Deed(NamedTuple):
    """What is done by the word in the address. ``also``: statuses of jobs to which it is done only when asked for."""

    action: Action
    title: str
    done: str
    meaning: str
    statuses: tuple[str, ...]
    back: str


DEEDS: dict[Word, Deed] = {
    "cancel": Deed(
        "cancel",
        "Cancel many jobs",
        "cancelled",
        "Jobs that wait are cancelled, those that run are asked to stop. What was charged comes back.",
        ("pending", "scheduled", "rate_limited", "processing"),
        JOBS,
    ),
    "release": Deed(
        "release",
        "Release many jobs",
        "released",
        "Jobs that wait for their time are due now. With a worker, or the status processing, jobs are taken from a "
        "worker that is stuck: another takes over, and a call that runs may be paid for again.",
        ("scheduled", "rate_limited", "processing"),
        JOBS,
    ),
    "retry": Deed(
        "replay",
        "Retry many jobs",
        "enqueued again",
        "New jobs are made of those that failed and were not replayed yet, at today's price.",
        ("failed", "cancelled"),
        FAILED,
    ),
}


class Chosen(JobChoice, Choosing):
    """Which jobs, and behind which one to go on."""

    after: UUID | None = None

    @property
    def names_something(self) -> bool:
        return any(value is not None for value in self.values().values())


class ManyForm(Form, JobChoice):
    after: UUID | None = None


def many_router(many: Many) -> APIRouter:
    router = APIRouter(prefix=MANY, include_in_schema=False, route_class=PageRoute)

    @router.get("/{word}")
    def count_many(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("operate")], word: Word, chosen: Annotated[Chosen, Query()]
    ) -> Response:
        deed = DEEDS[word]
        counted, refusal = _count(many, deed.action, chosen)
        return render(
            request,
            "many.html",
            status=422 if refusal else 200,
            word=word,
            deed=deed,
            chosen=chosen,
            hidden_fields=_filters(chosen),
            counted=counted,
            refusal=refusal,
            may=caller.may("operate"),
        )

    @router.post("/{word}")
    def change_many(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, sees("operate")], word: Word, form: Annotated[ManyForm, FormBody()]
    ) -> Response:
        deed = DEEDS[word]
        steps, left = many.carry_out(deed.action, form.values(), after=form.after, by=caller.name, reason=form.reason)
        said = _said(steps, deed)
        if left is None:
            return go_back(None, f"{said}. That was all.", otherwise=deed.back)
        again = address(f"{MANY}/{word}", **_filters(form), after=left)
        return go_back(None, f"{said}. There may be more.", otherwise=again)

    return router


def _count(many: Many, action: Action, chosen: Chosen) -> tuple[Mapping[str, int] | None, InvalidRequest | None]:
    if not chosen.names_something:
        return None, None
    try:
        return many.count(action, chosen.values()), None
    except InvalidRequest as refusal:
        return None, refusal


def _filters(chosen: JobChoice) -> dict[str, Any]:
    """What is chosen, as an address or a form names it."""
    named = chosen.model_dump(mode="json", include=set(JobChoice.model_fields))
    return {name: value for name, value in named.items() if value is not None}


def _said(steps: Sequence[Step], deed: Deed) -> str:
    refused = [step.refused for step in steps if step.refused]
    done = len(steps) - len(refused)
    said = f"{done:,} job{'' if done == 1 else 's'} {deed.done}"
    if not refused:
        return said
    codes = ", ".join(f"{number:,} {code}" for code, number in Counter(each.code for each in refused).most_common(3))
    return f"{said}; {len(refused):,} refused ({codes}), such as: {refused[0].message}"
