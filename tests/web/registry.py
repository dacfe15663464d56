"""Every route of the API: who may call it, a request that does something, and how each further answer comes about.

A route that is new stands here before it can be merged: test_every_status asks each one everything that it documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
from PIL import Image

from generation_worker.domain.token import Scope
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.support.webhooks import put_endpoint
from tests.web.served_api import Api

Headers = dict[str, str]
NOTHING: Mapping[str, str] = MappingProxyType({})
JSON: Headers = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class World:
    """ada has jobs in every state, and keys; so has nobody else."""

    served: Api
    connection: Connection
    population: Population
    key: Callable[..., Headers]

    def fresh(self, user: str = "ada") -> UUID:
        """A job that waits."""
        return jobs.enqueue(self.connection, user)


class Request(NamedTuple):
    """``content`` is sent as it is, with ``kind`` as its type."""

    path: str
    json: Any = None
    content: bytes | None = None
    kind: str | None = None
    headers: Mapping[str, str] = NOTHING


Make = Callable[[World], Request]
Provoke = Callable[[World], httpx.Response]


@dataclass(frozen=True)
class Route:
    """``scope`` None: open to all. ``fleet``: not for keys of one user. ``of_ada``: names something of hers."""

    method: str
    path: str
    scope: Scope | None
    make: Make
    success: int = 200
    fleet: bool = False
    of_ada: bool = False
    stream: bool = False
    """Its answer may have no end, so it is not read."""
    wrong: Make | None = None
    """A request that is not valid (422)."""
    by_hand: Mapping[int, Provoke] = field(default_factory=dict[int, Provoke])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def send(world: World, route: Route, request: Request, headers: Headers) -> httpx.Response:
    kind = {"Content-Type": request.kind} if request.kind else {}
    sent = {**kind, **request.headers, **headers}
    body: dict[str, Any] = {"json": request.json} if request.content is None else {"content": request.content}
    if not route.stream:
        return world.served.client.request(route.method, request.path, headers=sent, **body)
    with world.served.client.stream(route.method, request.path, headers=sent, **body) as answer:
        if answer.is_error:
            answer.read()
        return answer


def everything(world: World) -> Headers:
    return world.key("admin")


def _asking(method: str, path_of: Callable[[World], str], json: Any = None, **key: Any) -> Provoke:
    """Sent by a key that may do everything, or by one of a user."""

    def ask(world: World) -> httpx.Response:
        headers = world.key("enqueue", "read", **key) if key else everything(world)
        return world.served.client.request(method, path_of(world), json=json, headers=headers)

    return ask


def _plain(path: str, json: Any = None, **more: Any) -> Make:
    return lambda _: Request(path, json, **more)


def _of_job(end: str = "", json: Any = None, job: Callable[[World], UUID] = World.fresh) -> Make:
    return lambda world: Request(f"/worker/jobs/{job(world)}{end}", json)


def _batch(end: str = "") -> Make:
    def make(world: World) -> Request:
        made = jobs.enqueue_all(world.connection, "ada", count=2)
        return Request(f"/worker/batches/{made[0]['batch']}{end}")

    return make


def _ended(world: World) -> UUID:
    """A batch whose only job is cancelled."""
    batch = uuid4()
    jobs.put_job(world.connection, "cancelled", payload=jobs.PROMPT, batch_id=batch)
    return batch


def _seen_the_end(path_of: Callable[[World], str]) -> Provoke:
    """Asked again by an EventSource."""

    def ask(world: World) -> httpx.Response:
        headers = everything(world) | {"Last-Event-ID": "end"}
        return world.served.client.get(path_of(world), headers=headers, timeout=20)

    return ask


def _failed(world: World) -> UUID:
    return jobs.put_job(world.connection, "failed", payload=jobs.PROMPT)


def picture() -> bytes:
    data = BytesIO()
    Image.new("RGB", (20, 10)).save(data, "PNG")
    return data.getvalue()


def _sick(path: str, what: str) -> Provoke:
    def ask(world: World) -> httpx.Response:
        setattr(world.served.supervisor, what, ["3 job threads are stuck"] if what == "problems" else False)
        try:
            return world.served.client.get(path, headers=everything(world))
        finally:
            setattr(world.served.supervisor, what, [] if what == "problems" else True)

    return ask


def _conflict(path: str, first: Any, other: Any) -> Provoke:
    """Two requests under one Idempotency-Key."""

    def ask(world: World) -> httpx.Response:
        headers = everything(world) | {"Idempotency-Key": str(uuid4())}
        world.served.client.post(path, json=first, headers=headers).raise_for_status()
        return world.served.client.post(path, json=other, headers=headers)

    return ask


def _nobody(path: str) -> Callable[[World], str]:
    return lambda _: path.format(uuid4())


def _completed(end: str) -> Callable[[World], str]:
    return lambda world: f"/worker/jobs/{world.population.completed}{end}"


def _poor(world: World) -> str:
    """A failed job of somebody who has no credits."""
    return f"/worker/jobs/{jobs.put_job(world.connection, 'failed', user_id='poor', payload=jobs.PROMPT)}/retry"


JOB: dict[str, Any] = {"kind": "text_to_image", "user_id": "ada", "payload": jobs.PROMPT}
CHOICE: dict[str, Any] = {"filter": {"user_id": "nobody"}}
GRANT = "/worker/credits/ada/grant"
UNKNOWN = "/worker/jobs/{}"
IMAGES = "/worker/images"


def _grant(amount: int) -> Make:
    return lambda _: Request(GRANT, {"amount": amount}, headers={"Idempotency-Key": str(uuid4())})


HOOKS = "/worker/webhooks"
HOOK = "https://app.example.com/hook"


def _of_hook(end: str = "", json: Any = None) -> Make:
    return lambda world: Request(f"{HOOKS}/{put_endpoint(world.connection, user_id='ada')}{end}", json)


def _disabled_hook(world: World) -> str:
    hook = put_endpoint(world.connection)
    world.served.client.post(f"{HOOKS}/{hook}/disable", headers=everything(world)).raise_for_status()
    return f"{HOOKS}/{hook}/test"


def _message(world: World, *, disabled: bool = False) -> str:
    """The path that replays one."""
    hook = put_endpoint(world.connection)
    row = {"endpoint_id": hook, "event": "job.completed", "job_id": uuid4(), "body": "{}"}
    made = jobs.put_row(world.connection, "webhook_delivery", **row)
    if disabled:
        world.served.client.post(f"{HOOKS}/{hook}/disable", headers=everything(world)).raise_for_status()
    return f"{HOOKS}/deliveries/{made['id']}/replay"


ROUTES = [
    Route("GET", "/health", None, _plain("/health"), by_hand={503: _sick("/health", "problems")}),
    Route("GET", "/health/ready", None, _plain("/health/ready"), by_hand={503: _sick("/health/ready", "problems")}),
    Route("GET", "/health/live", None, _plain("/health/live"), by_hand={503: _sick("/health/live", "live")}),
    Route(
        "POST",
        "/worker/jobs",
        "enqueue",
        _plain("/worker/jobs", JOB),
        202,
        of_ada=True,
        wrong=_plain("/worker/jobs", JOB | {"cost": 0}),
        by_hand={
            402: _asking("POST", _nobody("/worker/jobs"), JOB | {"user_id": "poor"}),
            404: _asking("POST", _nobody("/worker/jobs"), JOB, user="eve"),
            409: _conflict("/worker/jobs", JOB, JOB | {"payload": {"prompt": "another"}}),
        },
    ),
    Route(
        "GET",
        "/worker/jobs",
        "read",
        _plain("/worker/jobs?user_id=ada"),
        of_ada=True,
        wrong=_plain("/worker/jobs?limit=0"),
        by_hand={404: _asking("GET", _nobody("/worker/jobs?user_id=ada"), user="eve")},
    ),
    Route(
        "GET",
        "/worker/jobs/{job_id}",
        "read",
        _of_job(),
        of_ada=True,
        wrong=_plain("/worker/jobs/x"),
        by_hand={404: _asking("GET", _nobody(UNKNOWN))},
    ),
    Route(
        "DELETE",
        "/worker/jobs/{job_id}",
        "enqueue",
        _of_job(),
        of_ada=True,
        wrong=_plain("/worker/jobs/x"),
        by_hand={
            202: _asking("DELETE", lambda world: f"/worker/jobs/{world.population.processing}"),
            404: _asking("DELETE", _nobody(UNKNOWN)),
            409: _asking("DELETE", _completed("")),
        },
    ),
    Route(
        "POST",
        "/worker/jobs/{job_id}/retry",
        "enqueue",
        _of_job("/retry", job=_failed),
        202,
        of_ada=True,
        wrong=_plain("/worker/jobs/x/retry"),
        by_hand={
            402: _asking("POST", _poor),
            404: _asking("POST", _nobody(UNKNOWN + "/retry")),
            409: _asking("POST", _completed("/retry")),
        },
    ),
    Route(
        "POST",
        "/worker/jobs/{job_id}/process",
        "operate",
        _of_job("/process", {}),
        fleet=True,
        wrong=_plain("/worker/jobs/x/process"),
        by_hand={
            404: _asking("POST", _nobody(UNKNOWN + "/process")),
            409: _asking("POST", _completed("/process")),
        },
    ),
    *(
        Route(
            "POST",
            f"/worker/jobs/{change}",
            "operate",
            _plain(f"/worker/jobs/{change}", CHOICE),
            fleet=True,
            wrong=_plain(f"/worker/jobs/{change}", {}),
        )
        for change in ("cancel", "release", "retry")
    ),
    Route(
        "GET",
        "/worker/batches/{batch_id}",
        "read",
        _batch(),
        of_ada=True,
        wrong=_plain("/worker/batches/x"),
        by_hand={404: _asking("GET", _nobody("/worker/batches/{}"))},
    ),
    Route(
        "POST",
        IMAGES,
        "enqueue",
        _plain(f"{IMAGES}?user_id=ada", content=picture(), kind="image/png"),
        201,
        of_ada=True,
        wrong=_plain(IMAGES, content=b"no image", kind="image/png"),
        by_hand={
            404: _asking("POST", _nobody(f"{IMAGES}?user_id=ada"), user="eve"),
        },
    ),
    Route(
        "GET",
        "/worker/credits/{user_id}",
        "read",
        _plain("/worker/credits/ada"),
        of_ada=True,
        wrong=_plain(f"/worker/credits/{'a' * 256}"),
        by_hand={404: _asking("GET", _nobody("/worker/credits/nobody"))},
    ),
    Route(
        "GET",
        "/worker/credits/{user_id}/entries",
        "read",
        _plain("/worker/credits/ada/entries"),
        of_ada=True,
        wrong=_plain("/worker/credits/ada/entries?limit=0"),
        by_hand={404: _asking("GET", _nobody("/worker/credits/nobody/entries"))},
    ),
    Route(
        "POST",
        "/worker/credits/{user_id}/grant",
        "operate",
        _grant(5),
        fleet=True,
        wrong=_grant(0),
        by_hand={409: _conflict(GRANT, {"amount": 5}, {"amount": 6})},
    ),
    *(
        Route("GET", f"/worker/{what}", "read", _plain(f"/worker/{what}"), fleet=True)
        for what in ("status", "stats", "workers")
    ),
    Route(
        "GET",
        "/worker/jobs/{job_id}/events",
        "read",
        _of_job("/events"),
        of_ada=True,
        stream=True,
        wrong=_plain("/worker/jobs/x/events"),
        by_hand={204: _seen_the_end(_completed("/events")), 404: _asking("GET", _nobody(UNKNOWN + "/events"))},
    ),
    Route(
        "GET",
        "/worker/batches/{batch_id}/events",
        "read",
        _batch("/events"),
        of_ada=True,
        stream=True,
        wrong=_plain("/worker/batches/x/events"),
        by_hand={
            204: _seen_the_end(lambda world: f"/worker/batches/{_ended(world)}/events"),
            404: _asking("GET", _nobody("/worker/batches/{}/events")),
        },
    ),
    Route(
        "GET",
        "/worker/events",
        "read",
        _plain("/worker/events?user_id=ada"),
        of_ada=True,
        stream=True,
        wrong=_plain("/worker/events"),
        by_hand={404: _asking("GET", _nobody("/worker/events?user_id=ada"), user="eve")},
    ),
    Route("GET", "/worker/health", "read", _plain("/worker/health")),
    *(
        Route("POST", f"/worker/{what}", "operate", _plain(f"/worker/{what}", {}), fleet=True, wrong=wrong)
        for what, wrong in {
            "start": _plain("/worker/start", {"user_id": ""}),
            "stop": _plain("/worker/stop", {"user_id": ""}),
        }.items()
    ),
    Route("POST", "/worker/wake", "operate", _plain("/worker/wake"), 202, fleet=True),
    Route("GET", HOOKS, "read", _plain(HOOKS), wrong=_plain(f"{HOOKS}?limit=0")),
    Route("POST", HOOKS, "admin", _plain(HOOKS, {"url": HOOK}), 201, wrong=_plain(HOOKS, {"url": "http://a"})),
    Route(
        "GET",
        HOOKS + "/{endpoint_id}",
        "read",
        _of_hook(),
        of_ada=True,
        wrong=_plain(f"{HOOKS}/x"),
        by_hand={404: _asking("GET", _nobody(HOOKS + "/{}"))},
    ),
    Route(
        "DELETE",
        HOOKS + "/{endpoint_id}",
        "admin",
        _of_hook(),
        204,
        wrong=_plain(f"{HOOKS}/x"),
        by_hand={404: _asking("DELETE", _nobody(HOOKS + "/{}"))},
    ),
    *(
        Route(
            "POST",
            HOOKS + "/{endpoint_id}/" + what,
            "admin",
            _of_hook(f"/{what}", {}),
            202 if what == "test" else 200,
            wrong=_plain(f"{HOOKS}/x/{what}", {}),
            by_hand={
                404: _asking("POST", _nobody(HOOKS + "/{}/" + what)),
                409: _asking("POST", _disabled_hook),
            },
        )
        for what in ("rotate", "disable", "enable", "test")
    ),
    Route(
        "GET", f"{HOOKS}/deliveries", "read", _plain(f"{HOOKS}/deliveries"), wrong=_plain(f"{HOOKS}/deliveries?limit=0")
    ),
    Route(
        "POST",
        HOOKS + "/deliveries/{delivery_id}/replay",
        "admin",
        lambda world: Request(_message(world), {}),
        202,
        wrong=_plain(f"{HOOKS}/deliveries/x/replay", {}),
        by_hand={
            404: _asking("POST", _nobody(HOOKS + "/deliveries/{}/replay")),
            409: _asking("POST", lambda world: _message(world, disabled=True)),
        },
    ),
    Route("GET", "/worker/config", "operate", _plain("/worker/config"), fleet=True),
    Route(
        "PUT",
        "/worker/config",
        "admin",
        _plain("/worker/config", {"concurrency": 2}),
        fleet=True,
        wrong=_plain("/worker/config", {"concurrency": 0}),
    ),
]
