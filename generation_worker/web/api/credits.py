"""Credits over HTTP: what a user has, what moved it, and how more of it is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.db.query import read_number_cursor, write_number_cursor
from generation_worker.web.app import SegmentRoute
from generation_worker.web.auth import Caller, needs
from generation_worker.web.problems import Problem, documented
from generation_worker.web.requests import Cursor, IdempotencyKeyNeeded, RequestModel, UserId

CREDITS = "/worker/credits"
LARGEST_GRANT = 1_000_000_000

User = Annotated[UserId, Path(description="Whose account it is; percent-encoded, a slash as `%2F`.")]


class Account(BaseModel):
    """What a user has."""

    model_config = ConfigDict(from_attributes=True)

    user_id: str = Field(examples=["ada"])
    balance: int = Field(description="Credits.", examples=[99])
    waiting: int = Field(description="What the user's waiting jobs will cost when they start.", examples=[1])
    entries: int = Field(description="How many there are.", examples=[2])
    created_at: datetime


class Entry(BaseModel):
    """One movement. It is never changed; what corrects it is another one."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Its number within the account, from 1.")
    kind: str = Field(description="grant, debit, refund or adjustment.", examples=["debit"])
    amount: int = Field(description="Credits; below 0 if they were taken.", examples=[-1])
    balance_after: int
    job_id: UUID | None
    refund_of: int | None = Field(description="The number of the debit that it gives back.")
    reason: str | None
    created_at: datetime


class EntryPage(BaseModel):
    """Entries, the latest first."""

    entries: list[Entry]
    next_cursor: str | None = Field(description="Where to go on; null at the end.")


class EntryFilters(RequestModel):
    limit: int = Field(default=50, ge=1, le=100, description="Most entries of one page.")
    cursor: Cursor | None = None


class Grant(RequestModel):
    """Credits to give, for instance for a payment."""

    amount: int = Field(strict=True, ge=1, le=LARGEST_GRANT, description="Credits.", examples=[100])
    reason: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")] | None = Field(
        default=None, description="Stands in the entry, which its user may see.", examples=["bought 100"]
    )


class Granted(BaseModel):
    """The user has the credits."""

    user_id: str = Field(examples=["ada"])
    entry: int = Field(description="The number of the entry within the account.", examples=[1])
    balance: int = Field(description="What the user has now.", examples=[100])
    duplicate: bool = Field(description="The key had been used before; nothing was given this time.")


class FoundAccount(Protocol):
    @property
    def user_id(self) -> str: ...


class FoundEntry(Protocol):
    @property
    def seq(self) -> int: ...


class Posting(Protocol):
    @property
    def entry(self) -> int: ...
    @property
    def balance(self) -> int: ...
    @property
    def duplicate(self) -> bool: ...


class Credits(Protocol):
    """Where accounts are. Each method may raise StoreUnavailable."""

    def account(self, user: str) -> FoundAccount | None: ...

    def entries(self, user: str, *, before: int | None, limit: int) -> Sequence[FoundEntry]: ...

    def grant(self, user: str, amount: int, *, key: str, reason: str | None, by: str) -> Posting: ...


def credits_router(credits: Credits) -> APIRouter:  # noqa: A002 - its name everywhere
    """Balance, entries, grant."""
    router = APIRouter(prefix=CREDITS, tags=["credits"], route_class=SegmentRoute)
    desk = _Desk(credits)
    add = router.add_api_route
    asks: dict[int | str, dict[str, Any]] = documented(401, 403, 404, 422, 429, 503)
    add("/{user_id}", desk.show_account, methods=["GET"], responses=asks)
    add("/{user_id}/entries", desk.list_entries, methods=["GET"], responses=asks)
    add(
        "/{user_id}/grant",
        desk.grant_credits,
        methods=["POST"],
        responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    )
    return router


class _Desk:
    def __init__(self, found: Credits) -> None:
        self._credits = found

    def show_account(self, caller: Annotated[Caller, needs("read")], user_id: User) -> Account:
        """What a user has, and what their waiting jobs will take of it."""
        return Account.model_validate(self._account(caller, user_id))

    def list_entries(
        self, caller: Annotated[Caller, needs("read")], user_id: User, filters: Annotated[EntryFilters, Query()]
    ) -> EntryPage:
        """What moved in a user's account, the latest first, a page at a time."""
        self._account(caller, user_id)
        before = read_number_cursor(filters.cursor)
        found = self._credits.entries(user_id, before=before, limit=filters.limit + 1)
        page = found[: filters.limit]
        more = len(found) > len(page)
        return EntryPage(
            entries=[Entry.model_validate(entry) for entry in page],
            next_cursor=write_number_cursor(page[-1].seq) if more else None,
        )

    def grant_credits(
        self,
        caller: Annotated[Caller, needs("operate", whole_fleet=True)],
        user_id: User,
        body: Grant,
        idempotency_key: IdempotencyKeyNeeded,
    ) -> Granted:
        """Give a user credits, once for each `Idempotency-Key`. The audit trail names the API key that did it."""
        posting = self._credits.grant(user_id, body.amount, key=idempotency_key, reason=body.reason, by=caller.name)
        return Granted(user_id=user_id, entry=posting.entry, balance=posting.balance, duplicate=posting.duplicate)

    def _account(self, caller: Caller, user_id: str) -> FoundAccount:
        caller.acting_for(user_id)
        found = self._credits.account(user_id)
        if found is None:
            raise Problem(
                404,
                "account_not_found",
                "The user has no account.",
                field="user_id",
                remedy="Grant credits first: POST /worker/credits/{user_id}/grant.",
            )
        return found
