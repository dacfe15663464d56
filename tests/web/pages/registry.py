"""Every address of the dashboard: who may see it, and what each form does.

One that is new stands here before it can be merged: test_every_page asks each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from generation_worker.db.access import create_token
from generation_worker.domain.token import Scope
from tests.support import jobs
from tests.support.database import queries_on
from tests.support.webhooks import put_endpoint
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
    shows: str | None = None
    """What the page begins with that it answers with, if it leads nowhere: for what is shown once."""

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
"""For whoever comes; test_render_links and test_session_sign_in request them."""
CONTROL = "/dashboard/control"
JOB = "/dashboard/jobs/{job_id}"
HOOKS = "/dashboard/webhooks"
HOOK = f"{HOOKS}/{{endpoint_id}}"
USER = "/dashboard/users/{user_id}"


def _of_ada(end: str = "") -> Callable[[World], str]:
    return lambda _: f"/dashboard/users/ada{end}"


def _paused(world: World) -> str:
    jobs.configure(world.connection, paused__user__ada={"reason": "unpaid"})
    return "/dashboard/users/ada/resume"


def _batch(world: World) -> str:
    return f"/dashboard/batches/{jobs.enqueue_all(world.connection, 'ada', count=2)[0]['batch']}"


def _of_hook(end: str = "", **columns: Any) -> Callable[[World], str]:
    return lambda world: f"{HOOKS}/{put_endpoint(world.connection, **columns)}{end}"


def _message(world: World) -> str:
    row = {"endpoint_id": put_endpoint(world.connection), "event": "job.failed", "body": "{}"}
    return f"{HOOKS}/deliveries/{jobs.put_row(world.connection, 'webhook_delivery', **row)['id']}/replay"


def _another_key(world: World) -> str:
    made = create_token(queries_on(world.connection), "another", ["read"])
    return f"/dashboard/keys/{made.token.id}/revoke"


def _ada_is_paused(world: World) -> Fields:
    _paused(world)
    return {"what": "user", "name": "ada"}


def _concurrency(world: World) -> Fields:
    jobs.configure(world.connection, concurrency=3)
    return {"name": "concurrency"}


def _amount(_: World) -> Fields:
    return {"amount": "5", "key": "once"}


PICTURES = {f"{JOB}/images/{{number}}", f"{JOB}/inputs/{{number}}"}
"""What pages show that are no pages: the tests of jobs' pictures ask for them."""
SEEN: list[Seen] = [
    Seen("/dashboard", "read"),
    Seen("/dashboard/jobs", "read"),
    Seen(JOB, "read", lambda world: f"/dashboard/jobs/{world.population.completed}"),
    Seen("/dashboard/failed", "read"),
    Seen("/dashboard/batches/{batch_id}", "read", _batch),
    Seen("/dashboard/many/{name}", "operate", lambda _: "/dashboard/many/cancel?user_id=ada"),
    Seen("/dashboard/users", "read"),
    Seen(USER, "read", _of_ada()),
    Seen("/dashboard/providers", "read"),
    Seen("/dashboard/workers", "read"),
    Seen(CONTROL, "read"),
    Seen("/dashboard/audit", "read"),
    Seen(HOOKS, "read"),
    Seen(HOOK, "read", _of_hook()),
    Seen("/dashboard/keys", "read"),
]
DONE: list[Done] = [
    Done(f"{JOB}/cancel", "enqueue", "job.cancel", lambda world: f"/dashboard/jobs/{world.population.bobs}/cancel"),
    Done(f"{JOB}/retry", "enqueue", "job.replay", lambda world: f"/dashboard/jobs/{world.population.failed}/retry"),
    Done(f"{JOB}/run-next", "operate", "job.run_next", lambda w: f"/dashboard/jobs/{w.population.bobs}/run-next"),
    Done(f"{JOB}/release", "operate", "job.release", lambda w: f"/dashboard/jobs/{w.population.scheduled}/release"),
    Done(
        "/dashboard/many/{name}",
        "operate",
        "job.cancel",
        lambda _: "/dashboard/many/cancel",
        lambda _: {"user_id": "bob"},
    ),
    Done(f"{USER}/grant", "operate", "credits.grant", _of_ada("/grant"), _amount),
    Done(f"{USER}/adjust", "admin", "credits.adjust", _of_ada("/adjust"), _amount),
    Done(f"{USER}/pause", "operate", "pause", _of_ada("/pause")),
    Done(f"{USER}/resume", "operate", "resume", _paused),
    Done(f"{CONTROL}/pause", "operate", "pause", fields=lambda _: {"what": "user", "name": "ada"}),
    Done(f"{CONTROL}/resume", "operate", "resume", fields=_ada_is_paused),
    Done(f"{CONTROL}/wake", "operate", None),
    Done(f"{CONTROL}/settings", "admin", "setting.set", fields=lambda _: {"name": "concurrency", "value": "3"}),
    Done(f"{CONTROL}/settings/unset", "admin", "setting.unset", fields=_concurrency),
    Done(
        HOOKS,
        "admin",
        "webhook.add",
        fields=lambda _: {"url": "https://app.example.com/hook", "events": "job.failed"},
        shows="whsec_",
    ),
    Done(f"{HOOK}/rotate", "admin", "webhook.rotate", _of_hook("/rotate"), shows="whsec_"),
    Done(f"{HOOK}/disable", "admin", "webhook.disable", _of_hook("/disable")),
    Done(f"{HOOK}/enable", "admin", "webhook.enable", _of_hook("/enable", disabled_at=jobs.NOW, disabled_for="gone")),
    Done(f"{HOOK}/test", "admin", "webhook.test", _of_hook("/test")),
    Done(f"{HOOK}/remove", "admin", "webhook.remove", _of_hook("/remove")),
    Done(f"{HOOKS}/deliveries/{{delivery_id}}/replay", "admin", "delivery.replay", _message),
    Done("/dashboard/keys/{token_id}/revoke", "admin", "token.revoke", _another_key),
]
