"""Every route × everybody who may ask, and every status that a route documents. A route that is new fails here."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from generation_worker.db import connections as api_pool
from generation_worker.domain.token import ONE_USER_SCOPES, SCOPES
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.conftest import MakeKey
from tests.web.registry import JSON, ROUTES, Headers, Request, Route, World, everything, send
from tests.web.served_api import Api

MIB = 1024 * 1024
of_each_route = pytest.mark.parametrize("route", ROUTES, ids=str)


@pytest.fixture
def world(served: Api, connection: Connection, population: Population, key: MakeKey) -> World:
    key("read")  # from now on everybody needs one
    return World(served, connection, population, key)


def documented(served: Api) -> dict[tuple[str, str], set[int]]:
    paths = served.client.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def test_every_route_stands_in_the_registry(served: Api):
    assert set(documented(served)) == {(route.method, route.path) for route in ROUTES}


@of_each_route
def test_it_lets_in_those_it_should(world: World, route: Route):
    callers: dict[tuple[str, str | None], Headers] = {
        **{(scope, None): world.key(scope) for scope in SCOPES},
        **{(scope, user): world.key(scope, user=user) for scope in sorted(ONE_USER_SCOPES) for user in ("ada", "eve")},
    }
    for (scope, user), headers in callers.items():
        answer = send(world, route, route.make(world), headers)
        assert answer.status_code == expected(route, scope, user), (scope, user, answer.text)
    assert send(world, route, route.make(world), {}).status_code == (401 if route.scope else route.success)


def expected(route: Route, scope: str, user: str | None) -> int:
    if route.scope not in (None, scope) and scope != "admin":
        return 403
    if route.fleet and user is not None:
        return 403
    return 404 if route.of_ada and user == "eve" else route.success


@of_each_route
def test_every_status_that_it_documents_comes_about(world: World, route: Route, monkeypatch: pytest.MonkeyPatch):
    ways: dict[int, Callable[[World, Route], httpx.Response]] = {
        200: well,
        201: well,
        202: well,
        204: well,
        400: no_json,
        401: no_key,
        403: wrong_scope,
        408: late,
        413: too_large,
        415: another_type,
        422: not_valid,
        429: too_fast,
        503: database_away,
    }
    monkeypatch.setattr("generation_worker.web.requests.READ_WITHIN", 0.05)
    monkeypatch.setattr("generation_worker.web.api.images.READ_TIMEOUT", 0.05)
    for status in sorted(documented(world.served)[route.method, route.path]):
        if status in route.by_hand:
            answer = route.by_hand[status](world)
        else:
            assert status in ways, f"{route}: the registry does not say how {status} comes about"
            answer = ways[status](world, route)
        assert answer.status_code == status, answer.text
        if status >= 400 and route.scope is not None and "worker_id" not in answer.text:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
        if status in (429, 503) and route.scope is not None and "worker_id" not in answer.text:
            assert int(answer.headers["retry-after"]) > 0


@of_each_route
def test_a_body_is_as_large_as_its_key_allows(world: World, route: Route):
    if 413 not in documented(world.served)[route.method, route.path]:
        return
    made, kib = route.make(world), 1024
    too_much = Request(made.path, content=bytes(4 * kib + 1), kind=made.kind or JSON["Content-Type"])
    answers = [send(world, route, too_much, world.key("admin", max_body_kb=limit)) for limit in (4, 5)]
    assert [answer.status_code == 413 for answer in answers] == [True, False], [answer.text for answer in answers]


def well(world: World, route: Route) -> httpx.Response:
    return send(world, route, route.make(world), everything(world))


def no_key(world: World, route: Route) -> httpx.Response:
    return send(world, route, route.make(world), {})


def wrong_scope(world: World, route: Route) -> httpx.Response:
    return send(world, route, route.make(world), world.key("enqueue" if route.scope == "read" else "read"))


def too_fast(world: World, route: Route) -> httpx.Response:
    slow = world.key("admin", requests_per_minute=1)
    send(world, route, route.make(world), slow)
    return send(world, route, route.make(world), slow)


def no_json(world: World, route: Route) -> httpx.Response:
    request = Request(route.make(world).path, content=b"{", kind="application/json")
    return send(world, route, request, everything(world) | {"Idempotency-Key": "a"})


def another_type(world: World, route: Route) -> httpx.Response:
    return send(world, route, Request(route.make(world).path, content=b"{}", kind="text/plain"), everything(world))


def too_large(world: World, route: Route) -> httpx.Response:
    made = route.make(world)
    request = Request(made.path, content=bytes(MIB + 1), kind=made.kind or JSON["Content-Type"])
    return send(world, route, request, everything(world))


def not_valid(world: World, route: Route) -> httpx.Response:
    assert route.wrong is not None, f"{route}: the registry does not say what is not valid"
    return send(world, route, route.wrong(world), everything(world))


def late(world: World, route: Route) -> httpx.Response:
    """Half a body, and no more of it."""
    made, client = route.make(world), world.served.client
    head = [f"{route.method} {made.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 9", "Connection: close"]
    head += [f"{name}: {value}" for name, value in {"Content-Type": made.kind or "", **everything(world)}.items()]
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=60) as raw:
        raw.sendall(("\r\n".join(head) + "\r\n\r\n{").encode())
        said = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    top, _, body = said.partition("\r\n\r\n")
    kind = next(line.partition(": ")[2] for line in top.splitlines() if line.lower().startswith("content-type"))
    return httpx.Response(int(top.split()[1]), headers={"content-type": kind}, text=body)


def database_away(world: World, route: Route) -> httpx.Response:
    request, headers = route.make(world), everything(world)
    with (
        world.connection.transaction(),
        ThreadPoolExecutor(1) as pool,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(api_pool, "REQUEST_TIMEOUT", 0.3)  # forty routes need not wait for seconds each
        world.connection.execute("LOCK TABLE api_token IN ACCESS EXCLUSIVE MODE")
        return pool.submit(send, world, route, request, headers).result()
