"""The keys of the HTTP API: who may do what, since when, and one button to take a key back.

Keys are not made here, as they are not over HTTP. Whoever holds a key with the scope ``admin`` can sign in with it,
from a browser or from a program that behaves like one. Were a session able to make keys, then a key that has leaked,
or a browser left open for a minute, could leave doors behind that outlive it: to take back the key would shut nobody
out any more, and the audit trail would only tell of it afterwards. To bind new keys to the visitor's own scopes
changes nothing about that. So a new key needs what somebody with a key does not have: the database's address, on the
command line. To take one back only ever closes a door, and whoever finds a leak must be able to do that at once,
wherever they are; so that is here, for one's own key too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Form as FormBody
from pydantic import Field

from generation_worker.domain.token import ID_LENGTH
from generation_worker.web.caller import Caller
from generation_worker.web.dashboard.links import HOME
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import go_back, render
from generation_worker.web.dashboard.visitor import name_of
from generation_worker.web.fields import RequestModel
from generation_worker.web.fleet_questions import Ask
from generation_worker.web.problems import Problem

KEYS = f"{HOME}/keys"
ROWS = 50
PUBLIC = rf"^[0-9a-z]{{{ID_LENGTH}}}$"
"""The part of a key that may be known."""


class KeyQuestions(Protocol):
    """Answers are tuples with names, as ``db.tokens`` has them. Raises StoreUnavailable."""

    def api_keys(self, *, active: bool, user: str | None, before: str | None, limit: int) -> Sequence[Any]: ...


class Keys(Protocol):
    def revoke(self, token_id: str, *, by: str, reason: str | None) -> Any:
        """The key as it is now; None if there is no such key. May raise StoreUnavailable."""
        ...


class KeyFilters(RequestModel):
    gone: bool = False
    """Show those too that were revoked or have expired."""
    user_id: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] = ""
    before: Annotated[str, Field(pattern=PUBLIC)] | None = None


def keys_router(ask: Ask[KeyQuestions], keys: Keys) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(KEYS)
    def list_keys(  # pyright: ignore[reportUnusedFunction]
        request: Request, caller: Annotated[Caller, sees("read")], filters: Annotated[KeyFilters, Query()]
    ) -> Response:
        with ask() as questions:
            found = questions.api_keys(
                active=not filters.gone, user=filters.user_id or None, before=filters.before, limit=ROWS + 1
            )
        page = found[:ROWS]
        return render(
            request,
            "keys.html",
            keys=page,
            filters=filters,
            next_before=page[-1].id if len(found) > ROWS else None,
            own=next((key.id for key in page if name_of(key.id) == caller.name), None),
            may_admin=caller.may("admin"),
        )

    @router.post(f"{KEYS}/{{token_id}}/revoke")
    def revoke_key(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, sees("admin")],
        token_id: Annotated[str, Path(pattern=PUBLIC)],
        form: Annotated[Form, FormBody()],
    ) -> Response:
        revoked = keys.revoke(token_id, by=caller.name, reason=form.reason)
        if revoked is None:
            raise Problem(404, "token_not_found", "There is no such key.", remedy="Look for it among the keys.")
        return go_back(form.back, f"The key {revoked.name} lets nobody in any more.", otherwise=KEYS)

    return router
