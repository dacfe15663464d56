"""Pages of jobs: the list, batches, failed jobs, and changes to many jobs at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Form as FormBody, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from generation_worker.db import bulk, jobs
from generation_worker.db.audit_trail import Author
from generation_worker.db.bulk import ActionName, BulkResult
from generation_worker.db.jobs import FailureCode, JobPreview
from generation_worker.db.query import Queries, Row, read_cursor, write_cursor
from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.job import FINAL, Status
from generation_worker.domain.payload import ImageRef, Kind, fill, parse_payload
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.api.control import JobChoice
from generation_worker.web.pages.render import (
    BATCHES,
    FAILED,
    JOBS,
    MANY,
    CachedQuery,
    FilterForm,
    address,
    fields,
    go_back,
    items,
    render,
)
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.worker.image_keys import IMAGE_KEY, UPLOAD_KEY

PAGE_SIZE = 50
CACHE_SECONDS = 2.0
"""How long the reasons of failures are cached."""

BulkName = Literal["cancel", "release", "retry"]


class BulkAction(NamedTuple):
    """A change to many jobs, as its page describes it."""

    action: ActionName
    title: str
    done: str
    description: str
    statuses: tuple[str, ...]
    back: str


BULK_ACTIONS: dict[BulkName, BulkAction] = {
    "cancel": BulkAction(
        "cancel",
        "Cancel many jobs",
        "cancelled",
        "Waiting jobs are cancelled, running jobs are asked to stop. What was charged is refunded.",
        ("pending", "scheduled", "rate_limited", "processing"),
        JOBS,
    ),
    "release": BulkAction(
        "release",
        "Release many jobs",
        "released",
        "Delayed jobs are due now. With a worker, or the status processing, jobs are taken from a worker that is "
        "stuck: another one takes over, and a call that is running may be paid for again.",
        ("scheduled", "rate_limited", "processing"),
        JOBS,
    ),
    "retry": BulkAction(
        "replay",
        "Retry many jobs",
        "enqueued again",
        "New jobs are made of those that failed and were not replayed yet, at today's price.",
        ("failed", "cancelled"),
        FAILED,
    ),
}


class ListFilters(FilterForm):
    """Filters of the list of jobs."""

    status: Status | None = None
    kind: Kind | None = None
    user_id: requests.UserId | None = None
    find: str | None = Field(default=None, max_length=100, pattern=requests.PRINTABLE)
    """The beginning of an id. The other filters do not apply then."""
    cursor: requests.Cursor | None = None


class FailedFilters(FilterForm):
    """Filters of the list of failed jobs."""

    code: str | None = Field(default=None, max_length=255, pattern=requests.PRINTABLE)
    user_id: requests.UserId | None = None
    cursor: str | None = Field(default=None, max_length=200)


class BulkFilters(JobChoice, FilterForm):
    """Conditions of a change to many jobs. ``after``: where an earlier request ended."""

    after: UUID | None = None


class BulkForm(Form, JobChoice):
    """The form that makes the change."""

    after: UUID | None = None


class ListedJob(NamedTuple):
    """A row of a list of jobs. ``preview`` is None if the job was deleted since its row was read."""

    job: Row
    preview: JobPreview | None
    prompt: str | None


class JobListPage(NamedTuple):
    """A page of the list. ``more`` is the address of the next page."""

    jobs: list[ListedJob]
    more: str | None


def _read_failure_codes(queries: Queries) -> list[FailureCode]:
    with queries.read_only() as reader:
        return jobs.failures_by_code(reader)


failure_codes = CachedQuery(_read_failure_codes, seconds=CACHE_SECONDS)

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(JOBS)
def list_jobs(
    request: Request,
    caller: Annotated[auth.Caller, sees("read")],
    filters: Annotated[ListFilters, Query()],
    queries: app.Database,
) -> Response:
    with queries.read_only() as reader:
        page = _found_by_id(reader, filters.find) if filters.find else _page(reader, filters)
    if filters.find and len(page.jobs) == 1:
        return RedirectResponse(f"{JOBS}/{page.jobs[0].job['id']}", 303)
    return render(request, "jobs.html", page=page, filters=filters, bulk_actions=_bulk_actions(filters, caller))


@router.get(BATCHES + "/{batch_id}")
def show_batch(
    request: Request, caller: Annotated[auth.Caller, sees("read")], batch_id: UUID, queries: app.Database
) -> Response:
    with queries.read_only() as reader:
        found = _with_previews(reader, jobs.list_batch(reader, batch_id))
    if not found:
        raise problems.Problem(404, "batch_not_found", f"There is no batch {batch_id}.")
    counts = Counter[str](each.job["status"] for each in found)
    return render(
        request,
        "batch.html",
        batch_id=batch_id,
        jobs=found,
        counts=counts,
        done=set(counts) <= FINAL,
        cost=sum(each.job["cost"] for each in found if each.job["debited"]),
        bulk_actions={name: address(f"{MANY}/{name}", batch_id=batch_id) for name in _applicable(counts, caller)},
    )


@router.get(FAILED)
def list_failed(
    request: Request,
    caller: Annotated[auth.Caller, sees("read")],
    filters: Annotated[FailedFilters, Query()],
    queries: app.Database,
) -> Response:
    with queries.read_only() as reader:
        page = jobs.scan_dead_letters(
            reader, limit=PAGE_SIZE, cursor=filters.cursor, code=filters.code, user=filters.user_id
        )
    more = page.cursor and address(FAILED, code=filters.code, user_id=filters.user_id, cursor=page.cursor)
    retry_all = address(f"{MANY}/retry", status="failed", error_code=filters.code, user_id=filters.user_id)
    return render(
        request,
        "failed.html",
        reasons=failure_codes(queries),
        letters=page.letters,
        more=more,
        filters=filters,
        retry_all=retry_all if caller.may("operate") else None,
        may_retry=caller.may("enqueue"),
    )


@router.get(MANY + "/{name}")
def count_many(
    request: Request,
    caller: Annotated[auth.Caller, sees("operate")],
    name: BulkName,
    filters: Annotated[BulkFilters, Query()],
    queries: app.Database,
) -> Response:
    action = BULK_ACTIONS[name]
    counted, refusal = _count(queries, action.action, filters)
    return render(
        request,
        "bulk_action.html",
        status=422 if refusal else 200,
        name=name,
        action=action,
        filters=filters,
        hidden_fields=_conditions(filters),
        counted=counted,
        refusal=refusal,
        may=caller.may("operate"),
    )


@router.post(MANY + "/{name}")
def change_many(
    caller: Annotated[auth.Caller, sees("operate")],
    name: BulkName,
    form: Annotated[BulkForm, FormBody()],
    queries: app.Database,
) -> Response:
    action, by = BULK_ACTIONS[name], Author(caller.name, form.reason)
    results, next_after = bulk.apply_for_request(queries, action.action, form.filter, by=by, after=form.after)
    flash = _summary(results, action)
    if next_after is None:
        return go_back(None, f"{flash}. That was all.", otherwise=action.back)
    again = address(f"{MANY}/{name}", **_conditions(form), after=next_after)
    return go_back(None, f"{flash}. There may be more.", otherwise=again)


def prompt_in(payload: Any) -> str | None:
    """The text that describes a payload: see ``prompt_text``."""
    values = fields(payload)
    names = [fields(each).get("type") for each in items(values.get("operations"))]
    return prompt_text(values.get("prompt"), values.get("inputs"), names)


def prompt_text(prompt: Any, inputs: Any, operations: Any = None) -> str | None:
    """The prompt with its placeholders filled, if they can be; without a prompt, the names of ``operations``."""
    if isinstance(prompt, str):
        try:
            return fill(prompt, inputs)
        except (KeyError, TypeError):
            return prompt
    return ", ".join(str(name) for name in items(operations)) or None


def input_images(kind: str, payload: Any) -> tuple[ImageRef, ...]:
    """The input images of a job; none if its payload is not valid."""
    try:
        return parse_payload(kind, payload, private_urls=True).images
    except InvalidPayload:
        return ()


def is_ours(key: str) -> bool:
    """Whether this program wrote the object: an upload, or an image of a job."""
    return bool(UPLOAD_KEY.fullmatch(key) or IMAGE_KEY.fullmatch(key))


def _page(queries: Queries, filters: ListFilters) -> JobListPage:
    found = jobs.list_jobs(
        queries,
        filters.user_id,
        statuses=None if filters.status is None else [filters.status],
        kind=filters.kind,
        before=read_cursor(filters.cursor),
        limit=PAGE_SIZE,
    )
    values: dict[str, Any] = filters.model_dump(exclude={"cursor"})
    more = found.next and address(JOBS, **values, cursor=write_cursor(found.next))
    return JobListPage(_with_previews(queries, found.jobs), more)


def _found_by_id(queries: Queries, beginning: str) -> JobListPage:
    ids = jobs.find_jobs(queries, beginning.strip(), limit=PAGE_SIZE)
    return JobListPage(_with_previews(queries, jobs.list_jobs_by_id(queries, ids)), None)


def _with_previews(queries: Queries, rows: Sequence[Row]) -> list[ListedJob]:
    previews = jobs.preview_jobs(queries, [row["id"] for row in rows]) if rows else {}
    return [_listed(row, previews.get(row["id"])) for row in rows]


def _listed(row: Row, preview: JobPreview | None) -> ListedJob:
    text = None if preview is None else prompt_text(preview.prompt, preview.inputs, preview.operations)
    return ListedJob(row, preview, text)


def _bulk_actions(filters: ListFilters, caller: auth.Caller) -> dict[str, str]:
    """The changes to all jobs of the filters, with the addresses of their pages."""
    if not caller.may("operate"):
        return {}
    values = {"status": filters.status, "kind": filters.kind, "user_id": filters.user_id}
    return {name: address(f"{MANY}/{name}", **values) for name in BULK_ACTIONS}


def _applicable(counts: Counter[str], caller: auth.Caller) -> list[BulkName]:
    """The changes that apply to jobs of a batch with these statuses."""
    applicable: dict[BulkName, bool] = {
        "cancel": bool(set(counts) - FINAL),
        "release": bool(counts["scheduled"] + counts["rate_limited"]),
        "retry": bool(counts["failed"]),
    }
    return [name for name, applies in applicable.items() if applies and caller.may("operate")]


def _count(
    queries: Queries, action: ActionName, filters: BulkFilters
) -> tuple[Mapping[str, int] | None, InvalidRequest | None]:
    if filters.filter == bulk.Filter():
        return None, None  # the page asks the visitor for a condition
    try:
        return bulk.count_jobs(queries, action, filters.filter), None
    except InvalidRequest as refusal:
        return None, refusal


def _conditions(chosen: JobChoice) -> dict[str, Any]:
    """The conditions as parameters of an address or fields of a form."""
    values = chosen.model_dump(mode="json", include=set(JobChoice.model_fields))
    return {name: value for name, value in values.items() if value is not None}


def _summary(results: Sequence[BulkResult], action: BulkAction) -> str:
    refused = [result.refused for result in results if result.refused]
    done = len(results) - len(refused)
    text = f"{done:,} job{'' if done == 1 else 's'} {action.done}"
    if not refused:
        return text
    codes = ", ".join(f"{number:,} {code}" for code, number in Counter(each.code for each in refused).most_common(3))
    return f"{text}; {len(refused):,} refused ({codes}), such as: {refused[0].message}"
