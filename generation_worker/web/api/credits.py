"""Credits over HTTP: a user's balance and entries, and grants."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.db import audit_trail, credits, query
from generation_worker.web import app, auth, problems, requests

CREDITS = "/worker/credits"
LARGEST_GRANT = 1_000_000_000

User = Annotated[requests.UserId, Path(description="The user; percent-encoded, a slash as `%2F`.")]


class Account(BaseModel):
    """A user's account."""

    model_config = ConfigDict(from_attributes=True)

    user_id: str = Field(examples=["ada"])
    balance: int = Field(description="Credits.", examples=[99])
    waiting: int = Field(description="The cost of the user's waiting jobs, debited when they start.", examples=[1])
    entries: int = Field(description="The number of entries.", examples=[2])
    created_at: datetime


class Entry(BaseModel):
    """One movement of credits. It never changes; a correction is another entry."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Its number within the account, from 1.")
    kind: str = Field(description="grant, debit, refund or adjustment.", examples=["debit"])
    amount: int = Field(description="Credits; below 0 if they were taken.", examples=[-1])
    balance_after: int
    job_id: UUID | None
    refund_of: int | None = Field(description="The number of the debit that it refunds.")
    reason: str | None
    created_at: datetime


class EntryPage(BaseModel):
    """Entries, the latest first."""

    entries: list[Entry]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")


class EntryFilters(requests.RequestModel):
    limit: int = Field(default=50, ge=1, le=100, description="The most entries of one page.")
    cursor: requests.Cursor | None = None


class Grant(requests.RequestModel):
    """Credits to give, for instance for a payment."""

    amount: int = Field(strict=True, ge=1, le=LARGEST_GRANT, description="Credits.", examples=[100])
    reason: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")] | None = Field(
        default=None, description="Stored in the entry, which the user may see.", examples=["bought 100"]
    )


class Granted(BaseModel):
    """The credits were granted."""

    user_id: str = Field(examples=["ada"])
    entry: int = Field(description="The number of the entry within the account.", examples=[1])
    balance: int = Field(description="The user's balance now.", examples=[100])
    duplicate: bool = Field(description="The key was used before; nothing was granted this time.")


router = APIRouter(prefix=CREDITS, tags=["credits"], route_class=app.SegmentRoute)
READS = problems.documented(401, 403, 404, 422, 429, 503)
CHANGES = problems.documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)


@router.get("/{user_id}", responses=READS)
def show_account(caller: Annotated[auth.Caller, auth.needs("read")], user_id: User, queries: app.Database) -> Account:
    """The user's balance, and what their waiting jobs will cost."""
    return Account.model_validate(_account(queries, caller, user_id))


@router.get("/{user_id}/entries", responses=READS)
def list_entries(
    caller: Annotated[auth.Caller, auth.needs("read")],
    user_id: User,
    filters: Annotated[EntryFilters, Query()],
    queries: app.Database,
) -> EntryPage:
    """The entries of a user's account, the latest first, a page at a time."""
    _account(queries, caller, user_id)
    before = query.read_number_cursor(filters.cursor)
    found = credits.list_entries(queries, user_id, before=before, limit=filters.limit + 1)
    page = found[: filters.limit]
    more = len(found) > len(page)
    return EntryPage(
        entries=[Entry.model_validate(entry) for entry in page],
        next_cursor=query.write_number_cursor(page[-1].seq) if more else None,
    )


@router.post("/{user_id}/grant", responses=CHANGES)
def grant_credits(
    caller: Annotated[auth.Caller, auth.needs("operate", whole_fleet=True)],
    user_id: User,
    body: Grant,
    idempotency_key: requests.IdempotencyKeyNeeded,
    queries: app.Database,
) -> Granted:
    """Give a user credits, once for each `Idempotency-Key`. The audit trail records the API key that did it."""
    by = audit_trail.Author(caller.name, body.reason)
    posting = credits.post(queries, "grant_credits", user_id, body.amount, key=idempotency_key, by=by)
    return Granted(user_id=user_id, entry=posting.entry, balance=posting.balance, duplicate=posting.duplicate)


def _account(queries: query.Queries, caller: auth.Caller, user_id: str) -> credits.AccountDetails:
    caller.acting_for(user_id)
    found = credits.find_account(queries, user_id)
    if found is None:
        raise problems.Problem(
            404,
            "account_not_found",
            "The user has no account.",
            field="user_id",
            remedy="Grant credits first: POST /worker/credits/{user_id}/grant.",
        )
    return found
