"""Pages of users: the list of accounts; the balance, entries and jobs of one user; grants, corrections and pauses."""

import secrets
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Form as FormBody, Path, Query, Request, Response
from pydantic import Field

from generation_worker.db import audit_trail, credits, fleet, jobs, query
from generation_worker.db.credits import Posting
from generation_worker.db.fleet import FleetSetting
from generation_worker.domain.fleet import EVERYTHING, Extent
from generation_worker.web import app, auth, requests
from generation_worker.web.api import control
from generation_worker.web.api.credits import LARGEST_GRANT
from generation_worker.web.pages.render import USERS, go_back, render, user_path
from generation_worker.web.pages.session import Form, PageRoute, sees

ROWS = 50
ENTRIES, JOBS = 25, 10
NO_NUL = r"^[^\x00]*$"
THRESHOLD = "credits_low"


class UserFilters(requests.RequestModel):
    beginning: str = Field(default="", max_length=255, pattern=NO_NUL)
    """A prefix of the users' ids; the user whose id it is comes first."""
    after: str = Field(default="", max_length=255, pattern=NO_NUL)


class EntryCursor(requests.RequestModel):
    cursor: requests.Cursor | None = None


class AdjustmentForm(Form):
    """Credits to add or, with a minus, to take."""

    amount: int = Field(ge=-LARGEST_GRANT, le=LARGEST_GRANT)
    key: str = Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")
    """The idempotency key, made with the page: the form moves credits once, even if it is sent twice."""
    reason: str | None = Field(default=None, min_length=1, max_length=1000, pattern=requests.PRINTABLE)


class GrantForm(AdjustmentForm):
    amount: int = Field(ge=1, le=LARGEST_GRANT)


class UserRoute(app.BySegments, PageRoute):
    """A page whose path has a user's id."""


User = Annotated[requests.UserId, Path()]
router = APIRouter(prefix=USERS, include_in_schema=False, route_class=UserRoute)


@router.get("")
def list_users(
    request: Request,
    _caller: Annotated[auth.Caller, sees("read")],
    filters: Annotated[UserFilters, Query()],
    queries: app.Database,
) -> Response:
    with queries.read_only() as reader:
        found = credits.list_balances(reader, beginning=filters.beginning, after=filters.after, limit=ROWS + 1)
        low = _low_balance(fleet.list_settings(reader))
    accounts = found[:ROWS]
    next_after = accounts[-1].user_id if len(found) > ROWS else None
    return render(request, "users.html", accounts=accounts, low=low, filters=filters, next_after=next_after)


@router.get("/{user_id}")
def show_user(
    request: Request,
    caller: Annotated[auth.Caller, sees("read")],
    user_id: User,
    page: Annotated[EntryCursor, Query()],
    queries: app.Database,
) -> Response:
    before = query.read_number_cursor(page.cursor)
    with queries.read_only() as reader:
        account = credits.find_account(reader, user_id)
        found = credits.list_entries(reader, user_id, before=before, limit=ENTRIES + 1)
        counts = jobs.count_jobs_of_user(reader, user_id)
        latest, _ = jobs.list_jobs(reader, user_id, statuses=None, kind=None, before=query.BEGINNING, limit=JOBS)
        pauses = {pause.name: pause for pause in fleet.list_pauses(reader)}
        low = _low_balance(fleet.list_settings(reader))
    entries = found[:ENTRIES]
    return render(
        request,
        "user.html",
        user=user_id,
        account=account,
        low=low,
        entries=entries,
        cursor=page.cursor,
        next_cursor=query.write_number_cursor(entries[-1].seq) if len(found) > ENTRIES else None,
        counts=counts,
        jobs=latest,
        pause=pauses.get(Extent("user", user_id).setting),
        fleet_pause=pauses.get(EVERYTHING.setting),
        key=secrets.token_hex(16),
        most=LARGEST_GRANT,
        may_operate=caller.may("operate"),
        may_admin=caller.may("admin"),
    )


@router.post("/{user_id}/grant")
def grant(
    caller: Annotated[auth.Caller, sees("operate")],
    user_id: User,
    form: Annotated[GrantForm, FormBody()],
    queries: app.Database,
) -> Response:
    """As POST /worker/credits/{user_id}/grant, with the page's key as its Idempotency-Key."""
    by = audit_trail.Author(caller.name, form.reason)
    posting = credits.post(queries, "grant_credits", user_id, form.amount, key=form.key, by=by)
    return _after_posting(form, user_id, posting, f"{form.amount:,} credits were granted")


@router.post("/{user_id}/adjust")
def adjust(
    caller: Annotated[auth.Caller, sees("admin")],
    user_id: User,
    form: Annotated[AdjustmentForm, FormBody()],
    queries: app.Database,
) -> Response:
    """As ``generation-worker credits adjust``. It can take credits away, so the scope operate is not enough."""
    by = audit_trail.Author(caller.name, form.reason)
    posting = credits.post(queries, "adjust_credits", user_id, form.amount, key=form.key, by=by)
    return _after_posting(form, user_id, posting, f"The balance was corrected by {form.amount:+,}")


@router.post("/{user_id}/pause")
def pause_user(
    caller: Annotated[auth.Caller, sees("operate")],
    user_id: User,
    form: Annotated[Form, FormBody()],
    queries: app.Database,
) -> Response:
    is_new = control.pause(queries, Extent("user", user_id), by=audit_trail.Author(caller.name, form.reason))
    done = f"Jobs of {user_id} are not started any more" if is_new else "They were paused before; the reason is new"
    return _to_user(form, user_id, f"{done}.")


@router.post("/{user_id}/resume")
def resume_user(
    caller: Annotated[auth.Caller, sees("operate")],
    user_id: User,
    form: Annotated[Form, FormBody()],
    queries: app.Database,
) -> Response:
    was_paused = control.resume(queries, Extent("user", user_id), by=audit_trail.Author(caller.name, form.reason))
    done = f"Jobs of {user_id} are started again" if was_paused else "They were not paused; nothing was changed"
    return _to_user(form, user_id, f"{done}.")


def _low_balance(settings: Iterable[FleetSetting]) -> int:
    """Credits below which a balance is low; 0: no balance is."""
    return next((int(setting.value) for setting in settings if setting.name == THRESHOLD), 0)


def _after_posting(form: Form, user: str, posting: Posting, done: str) -> Response:
    if posting.duplicate:
        done = "This form was sent before; nothing was moved this time"
    return _to_user(form, user, f"{done}. The balance is {posting.balance:,}.")


def _to_user(form: Form, user: str, flash: str) -> Response:
    return go_back(form.back, flash, otherwise=user_path(user))
