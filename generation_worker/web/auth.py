"""Which scope a route asks for. A route that does not say is refused when the application is made.

@router.post("/worker/pause")
def pause(caller: Annotated[Caller, needs("operate")]) -> …:
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from generation_worker.domain.token import Scope
from generation_worker.web.body import BoundedRequest
from generation_worker.web.caller import Caller
from generation_worker.web.guard import Guard
from generation_worker.web.problems import Problem

BEARER = HTTPBearer(auto_error=False, description="A key made by `generation-worker token create`.")
R = TypeVar("R", bound=Callable[..., Any])


def needs(scope: Scope, *, whole_fleet: bool = False) -> Any:
    """For an argument of a route, which is then its Caller: let in who may do this.

    ``whole_fleet``: what the route tells is about everybody, so a key that is bound to one user is refused.
    """
    return Security(Need(scope, whole_fleet).admit, scopes=[scope])


def open_to_all(route: R) -> R:
    """For a route that has its own way to know who calls, or tells nothing that matters."""
    _OPEN.add(route)
    return route


class GuardedRoute(APIRoute):
    """Knows who calls before it reads what they send, and reads no more than they may. For routes that take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            caller = await run_in_threadpool(_admit, request)
            bounded = BoundedRequest(request, caller.most_json)
            await bounded.body()
            return await handle(bounded)

        return guarded


def scope_of(route: APIRoute) -> Scope | None:
    """What the route asks for; None if it is open to all. Raises LookupError if it does not say."""
    found = next(_needs(route.dependant), None)
    if found is not None:
        return found.scope
    if route.endpoint in _OPEN:
        return None
    raise LookupError(f"{route.path} declares no scope: use needs(…) or open_to_all")


def check_scopes(routes: Iterable[BaseRoute]) -> None:
    """Raises LookupError if one of ``routes`` does not say who may call it."""
    for route in routes:
        if isinstance(route, APIRoute):
            scope_of(route)


@dataclass(frozen=True)
class Need:
    """What a route asks of whoever calls."""

    scope: Scope
    whole_fleet: bool

    def admit(self, request: Request, _key: Annotated[Any, Depends(BEARER)]) -> Caller:
        return self.met_by(_admit(request))

    def met_by(self, caller: Caller) -> Caller:
        """Raises Problem (403)."""
        if not caller.may(self.scope):
            raise Problem(
                403, "missing_scope", f"The key does not have the scope {self.scope}.", remedy="Use another key."
            )
        if self.whole_fleet and caller.user_id is not None:
            raise Problem(403, "key_of_one_user", "The key is bound to one user; this is about all of them.")
        return caller


def _admit(request: Request) -> Caller:
    """Asked once for a request: each time counts."""
    if not hasattr(request.state, "caller"):
        guard: Guard = request.app.state.guard
        request.state.caller = guard.admit(request)
    return request.state.caller


def _needs(dependant: Dependant) -> Iterator[Need]:
    need = getattr(dependant.call, "__self__", None)
    if isinstance(need, Need):
        yield need
    for part in dependant.dependencies:
        yield from _needs(part)


_OPEN: set[Callable[..., Any]] = set()
