"""Every address of the dashboard: who may see it, and what each form does.

One that is new stands here before it can be merged: test_every_page asks each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from generation_worker.domain.token import Scope
from tests.support import jobs
from tests.web.registry import World

Fields = dict[str, str]


@dataclass(frozen=True)
class Seen:
    """A page, and one address of it."""

    path: str
    scope: Scope
    at: Callable[[World], str] | None = None
    """None: the path itself."""

    def address(self, world: World) -> str:
        return self.path if self.at is None else self.at(world)


@dataclass(frozen=True)
class Done:
    """What a form does: where it is sent, what is entered, and how the event is called in the audit trail."""

    path: str
    scope: Scope
    action: str | None
    """None: it changes nothing that is kept."""
    at: Callable[[World], str] | None = None
    fields: Callable[[World], Fields] = field(default=lambda _world: {})

    def address(self, world: World) -> str:
        return self.path if self.at is None else self.at(world)


OPEN = {
    ("GET", "/"),
    ("GET", "/admin/queues"),
    ("GET", "/dashboard/sign-in"),
    ("POST", "/dashboard/sign-in"),
    ("POST", "/dashboard/sign-out"),
    ("GET", "/dashboard/static/{digest}/{name:path}"),
}
"""For whoever comes; test_ways and test_sign_in ask them."""
CONTROL = "/dashboard/control"
USER = "/dashboard/users/{user_id}"


def _of_ada(end: str = "") -> Callable[[World], str]:
    return lambda _: f"/dashboard/users/ada{end}"


def _paused(world: World) -> str:
    jobs.configure(world.connection, paused__user__ada={"reason": "unpaid"})
    return "/dashboard/users/ada/resume"


def _ada_is_paused(world: World) -> Fields:
    _paused(world)
    return {"what": "user", "name": "ada"}


def _concurrency(world: World) -> Fields:
    jobs.configure(world.connection, concurrency=3)
    return {"name": "concurrency"}


def _amount(_: World) -> Fields:
    return {"amount": "5", "key": "once"}


SEEN: list[Seen] = [
    Seen("/dashboard", "read"),
    Seen("/dashboard/users", "read"),
    Seen(USER, "read", _of_ada()),
    Seen("/dashboard/providers", "read"),
    Seen("/dashboard/workers", "read"),
    Seen(CONTROL, "read"),
    Seen("/dashboard/audit", "read"),
]
DONE: list[Done] = [
    Done(f"{USER}/grant", "operate", "credits.grant", _of_ada("/grant"), _amount),
    Done(f"{USER}/adjust", "admin", "credits.adjust", _of_ada("/adjust"), _amount),
    Done(f"{USER}/pause", "operate", "pause", _of_ada("/pause")),
    Done(f"{USER}/resume", "operate", "resume", _paused),
    Done(f"{CONTROL}/pause", "operate", "pause", fields=lambda _: {"what": "user", "name": "ada"}),
    Done(f"{CONTROL}/resume", "operate", "resume", fields=_ada_is_paused),
    Done(f"{CONTROL}/wake", "operate", None),
    Done(f"{CONTROL}/settings", "admin", "setting.set", fields=lambda _: {"name": "concurrency", "value": "3"}),
    Done(f"{CONTROL}/settings/unset", "admin", "setting.unset", fields=_concurrency),
]
