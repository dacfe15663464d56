"""One user: what they have, what moved it, their jobs, and what can be done about it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import Field

from generation_worker.db.credits import Posting
from generation_worker.db.query import BEGINNING, Mark, read_number_cursor, write_number_cursor
from generation_worker.domain.fleet import EVERYTHING, Extent
from generation_worker.web.api.credits import LARGEST_GRANT
from generation_worker.web.api.fleet import Ask
from generation_worker.web.app import BySegments
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import HOME, go_back, render, user_path
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.web.requests import PRINTABLE, Cursor, RequestModel, UserId

# Accounts: who has how much, and where to find whom.


USERS = f"{HOME}/users"
ROWS = 50
NO_NUL = r"^[^\x00]*$"
THRESHOLD = "credits_low"


class UsersQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them. Raises StoreUnavailable."""

    def balances(self, *, beginning: str, after: str, limit: int) -> Sequence[Any]: ...

    def fleet_settings(self) -> Iterable[Any]: ...


class UserFilters(RequestModel):
    beginning: str = Field(default="", max_length=255, pattern=NO_NUL)
    """How the ids begin; the whole id finds its user first."""
    after: str = Field(default="", max_length=255, pattern=NO_NUL)


def users_router(ask: Ask[UsersQuestions]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(USERS)
    def users(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Caller, sees("read")],  # noqa: ARG001 - asked who they are
        filters: Annotated[UserFilters, Query()],
    ) -> Response:
        with ask() as questions:
            found = questions.balances(beginning=filters.beginning, after=filters.after, limit=ROWS + 1)
            low = threshold(questions.fleet_settings())
        accounts = found[:ROWS]
        next_after = accounts[-1].user_id if len(found) > ROWS else None
        return render(request, "users.html", accounts=accounts, low=low, filters=filters, next_after=next_after)

    return router


def threshold(settings: Iterable[Any]) -> int:
    """Credits below which a balance is low; 0: none is."""
    return next((int(setting.value) for setting in settings if setting.name == THRESHOLD), 0)


ENTRIES, JOBS = 25, 10
BEFORE_NONE = 2**63 - 1
"""No entry has this number."""

Named = Annotated[UserId, Path()]


class UserQuestions(Protocol):
    """Answers are tuples with names, as ``db.answers`` has them. Raises StoreUnavailable."""

    def account(self, user: str) -> Any: ...

    def account_entries(self, user: str, *, before: int, limit: int) -> Sequence[Any]: ...

    def jobs_of_user(self, user: str) -> Sequence[Any]: ...

    def pauses(self) -> Sequence[Any]: ...

    def fleet_settings(self) -> Iterable[Any]: ...


class Books(Protocol):
    """What the API has, and what only the command line had."""

    def grant(self, user: str, amount: int, *, key: str, reason: str | None, by: str) -> Posting: ...

    def adjust(self, user: str, amount: int, *, key: str, reason: str | None, by: str) -> Posting: ...


class JobPages(Protocol):
    def page(
        self, user: str | None, *, statuses: Sequence[str] | None, kind: str | None, before: Mark, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Mark | None]: ...


class Pauses(Protocol):
    def pause(self, extent: Extent, *, by: str, reason: str | None) -> bool: ...

    def resume(self, extent: Extent, *, by: str, reason: str | None) -> bool: ...


class Desks(NamedTuple):
    """Who is asked, and who does it: the same as for the API's routes."""

    ask: Ask[UserQuestions]
    books: Books
    jobs: JobPages
    pauses: Pauses


class EntryPages(RequestModel):
    cursor: Cursor | None = None


class Move(Form):
    """Credits to give or, with a minus, to take."""

    amount: int = Field(ge=-LARGEST_GRANT, le=LARGEST_GRANT)
    key: str = Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")
    """Made with the page: sent twice, it moves the credits once."""
    reason: str | None = Field(default=None, min_length=1, max_length=1000, pattern=PRINTABLE)


class Grant(Move):
    amount: int = Field(ge=1, le=LARGEST_GRANT)


class UserRoute(BySegments, PageRoute):
    """A page whose address has a user's id in it."""


def user_router(desks: Desks) -> APIRouter:
    router = APIRouter(prefix=f"{USERS}/{{user_id}}", include_in_schema=False, route_class=UserRoute)
    pages = _Pages(desks)
    add = router.add_api_route
    add("", pages.user, methods=["GET"])
    add("/grant", pages.grant, methods=["POST"])
    add("/adjust", pages.adjust, methods=["POST"])
    add("/pause", pages.pause, methods=["POST"])
    add("/resume", pages.resume, methods=["POST"])
    return router


class _Pages:
    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def user(
        self,
        request: Request,
        caller: Annotated[Caller, sees("read")],
        user_id: Named,
        asked: Annotated[EntryPages, Query()],
    ) -> Response:
        before = read_number_cursor(asked.cursor)
        with self._desks.ask() as questions:
            account = questions.account(user_id)
            found = questions.account_entries(
                user_id, before=BEFORE_NONE if before is None else before, limit=ENTRIES + 1
            )
            counts = questions.jobs_of_user(user_id)
            paused = {pause.name: pause for pause in questions.pauses()}
            low = threshold(questions.fleet_settings())
        jobs, _ = self._desks.jobs.page(user_id, statuses=None, kind=None, before=BEGINNING, limit=JOBS)
        entries = found[:ENTRIES]
        return render(
            request,
            "user.html",
            user=user_id,
            account=account,
            low=low,
            entries=entries,
            cursor=asked.cursor,
            next_cursor=write_number_cursor(entries[-1].seq) if len(found) > ENTRIES else None,
            counts=counts,
            jobs=jobs,
            pause=paused.get(Extent("user", user_id).setting),
            stopped=paused.get(EVERYTHING.setting),
            key=secrets.token_hex(16),
            most=LARGEST_GRANT,
            may_operate=caller.may("operate"),
            may_admin=caller.may("admin"),
        )

    def grant(
        self, caller: Annotated[Caller, sees("operate")], user_id: Named, form: Annotated[Grant, FormBody()]
    ) -> Response:
        """As POST /worker/credits/{user_id}/grant, with the page's key for its Idempotency-Key."""
        books = self._desks.books
        posting = books.grant(user_id, form.amount, key=form.key, reason=form.reason, by=caller.name)
        return _moved(form, user_id, posting, f"{form.amount:,} credits were granted")

    def adjust(
        self, caller: Annotated[Caller, sees("admin")], user_id: Named, form: Annotated[Move, FormBody()]
    ) -> Response:
        """As ``generation-worker credits adjust``. It can take credits away, which is for more than an operator."""
        books = self._desks.books
        posting = books.adjust(user_id, form.amount, key=form.key, reason=form.reason, by=caller.name)
        return _moved(form, user_id, posting, f"The balance was corrected by {form.amount:+,}")

    def pause(
        self, caller: Annotated[Caller, sees("operate")], user_id: Named, form: Annotated[Form, FormBody()]
    ) -> Response:
        news = self._desks.pauses.pause(Extent("user", user_id), by=caller.name, reason=form.reason)
        said = f"Jobs of {user_id} are not started any more" if news else "They were paused before; the reason is new"
        return _back(form, user_id, f"{said}.")

    def resume(
        self, caller: Annotated[Caller, sees("operate")], user_id: Named, form: Annotated[Form, FormBody()]
    ) -> Response:
        was_paused = self._desks.pauses.resume(Extent("user", user_id), by=caller.name, reason=form.reason)
        said = f"Jobs of {user_id} are started again" if was_paused else "They were not paused; nothing was changed"
        return _back(form, user_id, f"{said}.")


def _moved(form: Form, user: str, posting: Posting, said: str) -> Response:
    if posting.duplicate:
        said = "That had been done before, and nothing was moved this time"
    return _back(form, user, f"{said}. The balance is {posting.balance:,}.")


def _back(form: Form, user: str, said: str) -> Response:
    return go_back(form.back, said, otherwise=user_path(user))
