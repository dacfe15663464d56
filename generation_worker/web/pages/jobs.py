"""The same change to many jobs: first how many it would be, then the button that makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Protocol
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi import Form as FormBody
from fastapi.responses import RedirectResponse
from pydantic import Field

from generation_worker.db.query import Mark, read_cursor, write_cursor
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.job import FINAL, Status
from generation_worker.domain.payload import ImageRef, Kind, fill, parse_payload
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.web.api.control import Action, JobChoice, Many, Step
from generation_worker.web.api.fleet import Ask
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import (
    BATCHES,
    FAILED,
    JOBS,
    MANY,
    Choosing,
    SharedLook,
    address,
    fields,
    go_back,
    items,
    render,
)
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.web.problems import Problem
from generation_worker.web.requests import PRINTABLE, Cursor, UserId
from generation_worker.worker import image_keys as artifact
from generation_worker.worker import image_keys as uploads

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


# The dead letters: what failed for good, why, and another try of it.


ON_A_PAGE = 50
SECONDS = 2.0
"""For how long one look at the reasons serves everybody."""


class FailedQuestions(Protocol):
    """Every answer is bounded. Raises StoreUnavailable."""

    def failures_by_code(self) -> Sequence[Any]: ...

    def look_at_dead_letters(self, *, limit: int, cursor: str | None, code: str | None, user: str | None) -> Any: ...


class ChosenFailed(Choosing):
    """Which of them are listed."""

    code: str | None = Field(default=None, max_length=255, pattern=PRINTABLE)
    user_id: UserId | None = None
    cursor: str | None = Field(default=None, max_length=200)


def failed_router(ask: Ask[FailedQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)
    reasons = SharedLook(partial(_reasons, ask), seconds=SECONDS)

    @router.get(FAILED)
    def list_failed(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], chosen: Annotated[ChosenFailed, Query()]
    ) -> Response:
        with ask() as questions:
            page = questions.look_at_dead_letters(
                limit=ON_A_PAGE, cursor=chosen.cursor, code=chosen.code, user=chosen.user_id
            )
        more = page.cursor and address(FAILED, code=chosen.code, user_id=chosen.user_id, cursor=page.cursor)
        many = address(f"{MANY}/retry", status="failed", error_code=chosen.code, user_id=chosen.user_id)
        return render(
            request,
            "failed.html",
            reasons=reasons(),
            letters=page.letters,
            more=more,
            chosen=chosen,
            retry_many=many if caller.may("operate") else None,
            may_retry=caller.may("enqueue"),
        )

    return router


def _reasons(ask: Ask[FailedQuestions]) -> Sequence[Any]:
    with ask() as questions:
        return questions.failures_by_code()


# What a job was asked for, in the words of whoever asked.


def wish_of(prompt: Any, inputs: Any, operations: Any = None) -> str | None:
    """The prompt with its placeholders filled, as far as that goes; else the names of ``operations``."""
    if isinstance(prompt, str):
        try:
            return fill(prompt, inputs)
        except (KeyError, TypeError):
            return prompt
    return ", ".join(str(name) for name in items(operations)) or None


def wish_in(payload: Any) -> str | None:
    """The same, of a whole payload."""
    asked = fields(payload)
    names = [fields(each).get("type") for each in items(asked.get("operations"))]
    return wish_of(asked.get("prompt"), asked.get("inputs"), names)


def inputs_of(kind: str, payload: Any) -> tuple[ImageRef, ...]:
    """The images that the job was given; none of a payload that is not valid."""
    try:
        return parse_payload(kind, payload, private_urls=True).images
    except InvalidPayload:
        return ()


def is_ours(key: str) -> bool:
    """Whether an object of this key was written by us: an upload, or the image of a job."""
    return bool(uploads.UPLOAD_KEY.fullmatch(key) or artifact.IMAGE_KEY.fullmatch(key))


# Jobs as lists show them.


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


# A batch: its jobs and their pictures.


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


# The list of jobs, the latest first; and what is found by how its id begins.


class ListedJobs(Protocol):
    """Where jobs are. Each method may raise StoreUnavailable."""

    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[Sequence[Row], Mark | None]: ...

    def named(self, job_ids: Sequence[UUID]) -> Sequence[Row]: ...


class ListQuestions(Glances, Protocol):
    def find_jobs(self, prefix: str, *, limit: int) -> Sequence[UUID]: ...


class ChosenJobs(Choosing):
    """Which jobs are listed."""

    status: Status | None = None
    kind: Kind | None = None
    user_id: UserId | None = None
    find: str | None = Field(default=None, max_length=100, pattern=PRINTABLE)
    """How an id begins. Nothing else is asked then."""
    cursor: Cursor | None = None


class _Page(NamedTuple):
    jobs: list[Listed]
    more: str | None
    """Where it goes on."""


def jobs_page_router(jobs: ListedJobs, ask: Ask[ListQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(JOBS)
    def list_jobs(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], chosen: Annotated[ChosenJobs, Query()]
    ) -> Response:
        page = _found(jobs, ask, chosen.find) if chosen.find else _page(jobs, ask, chosen)
        if chosen.find and len(page.jobs) == 1:
            return RedirectResponse(f"{JOBS}/{page.jobs[0].job['id']}", 303)
        return render(request, "jobs.html", page=page, chosen=chosen, many=_many(chosen, caller))

    return router


def _page(jobs: ListedJobs, ask: Ask[ListQuestions], chosen: ChosenJobs) -> _Page:
    rows, mark = jobs.page(
        chosen.user_id,
        statuses=None if chosen.status is None else [chosen.status],
        kind=chosen.kind,
        before=read_cursor(chosen.cursor),
        limit=ON_A_PAGE,
    )
    filters: dict[str, Any] = chosen.model_dump(exclude={"cursor"})
    return _Page(listed(rows, ask), mark and address(JOBS, **filters, cursor=write_cursor(mark)))


def _found(jobs: ListedJobs, ask: Ask[ListQuestions], beginning: str) -> _Page:
    with ask() as questions:
        ids = questions.find_jobs(beginning.strip(), limit=ON_A_PAGE)
    return _Page(listed(jobs.named(ids), ask), None)


def _many(chosen: ChosenJobs, caller: Caller) -> dict[str, str]:
    """What can be done to all of them at once, and where."""
    if not caller.may("operate"):
        return {}
    filters = {"status": chosen.status, "kind": chosen.kind, "user_id": chosen.user_id}
    return {word: address(f"{MANY}/{word}", **filters) for word in ("cancel", "release", "retry")}
