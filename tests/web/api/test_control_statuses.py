"""The refusals that all routes of control have in common, asked of each of them."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi.routing import APIRoute

from generation_worker.db.connections import ApiConnections
from generation_worker.db.query import Queries
from generation_worker.domain.token import ID_LENGTH, SECRET_BYTES, Token, hash_secret, write_key
from generation_worker.web.api.control import jobs_router, router
from generation_worker.web.auth import Guard
from tests.support import jobs
from tests.support.database import SCHEMA, Connection, Database
from tests.web.answers import problem
from tests.web.conftest import LIMITS, MakeKey
from tests.web.served_api import Api


class Asked(NamedTuple):
    """A request that would do something."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    scope: str = "operate"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


JOB = UUID(int=1)
SECRET = bytes(SECRET_BYTES)
CHOICE: dict[str, Any] = {"filter": {"user_id": "ada"}}
ROUTES = [
    Asked("POST", "/worker/stop", {}),
    Asked("POST", "/worker/start", {}),
    Asked("POST", "/worker/wake"),
    Asked("POST", f"/worker/jobs/{JOB}/process", {}),
    Asked("POST", "/worker/jobs/cancel", CHOICE),
    Asked("POST", "/worker/jobs/release", CHOICE),
    Asked("POST", "/worker/jobs/retry", CHOICE),
    Asked("GET", "/worker/config"),
    Asked("PUT", "/worker/config", {"concurrency": 2}, "admin"),
]
WITH_BODY = [asked for asked in ROUTES if asked.body is not None]
every_route = pytest.mark.parametrize("asked", ROUTES, ids=str)
every_body = pytest.mark.parametrize("asked", WITH_BODY, ids=str)


@pytest.fixture(autouse=True)
def waiting(connection: Connection) -> None:
    jobs.offer_local(connection)
    jobs.put_job(connection, id=JOB)


def ask(client: httpx.Client, asked: Asked, **changes: Any) -> httpx.Response:
    given: dict[str, Any] = {"json": asked.body, **changes}
    return client.request(asked.method, asked.path, **given)


def changed(connection: Connection) -> Any:
    changes = connection.execute("SELECT count(*) FROM audit_event WHERE action <> 'token.create'").fetchone()
    return changes, connection.execute("SELECT count(*) FROM fleet_setting WHERE name = 'woken'").fetchone()


def test_these_are_all_of_them_and_each_documents_what_it_answers():
    routes = [*router.routes, *jobs_router.routes]
    documented = {
        (method, route.path.replace("{job_id}", str(JOB))): set(route.responses)
        for route in routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert documented.keys() == {(asked.method, asked.path) for asked in ROUTES}
    common, of_bodies = {401, 403, 429, 503}, {400, 408, 413, 415, 422}
    for asked in ROUTES:
        special = {404, 409} if asked.path.endswith("/process") else set[int]()
        expected = common | special | (set[int]() if asked.body is None else of_bodies)
        assert documented[asked.method, asked.path] == expected


@every_route
def test_nobody_without_a_key_of_the_right_kind(
    client: httpx.Client, connection: Connection, key: MakeKey, asked: Asked
):
    wrong = key("read", "enqueue", *(("operate",) if asked.scope == "admin" else ()))
    bound = key("read", "enqueue", user="ada")
    before = changed(connection)
    problem(ask(client, asked), 401, "key_required")
    problem(ask(client, asked, headers={"Authorization": "Bearer gw_live_none"}), 401, "invalid_key")
    problem(ask(client, asked, headers=wrong), 403, "missing_scope")
    problem(ask(client, asked, headers=bound), 403, "missing_scope")
    assert changed(connection) == before


class BoundTokens(Queries):
    """Finds keys that may do everything and are bound to ada, which the database does not allow."""

    def one_or_none(self, row: type[Any], statement: str, **values: Any) -> Any:
        assert statement == "find_token"
        limits = (None, None, None)
        return Token(
            values["id"], "test", hash_secret(SECRET), ["admin"], "ada", *limits, usable=True, use_unrecorded=False
        )


@every_route
def test_whoever_sees_one_user_controls_nothing(
    served: Api, desk: ApiConnections, connection: Connection, asked: Asked
):
    served.app.state.guard = Guard(BoundTokens(desk, schema=SCHEMA), LIMITS)
    bound = {"Authorization": f"Bearer {write_key('0' * ID_LENGTH, SECRET)}"}
    before = changed(connection)
    problem(ask(served.client, asked, headers=bound), 403, "key_of_one_user")
    assert changed(connection) == before


@every_route
def test_no_faster_than_the_key_allows(client: httpx.Client, key: MakeKey, asked: Asked):
    slow = key("admin", requests_per_minute=1)
    assert ask(client, asked, headers=slow).is_success
    again = ask(client, asked, headers=slow)
    problem(again, 429, "too_many_requests")
    assert int(again.headers["retry-after"]) > 0


@every_body
def test_a_body_that_is_none(client: httpx.Client, connection: Connection, asked: Asked):
    before, json = changed(connection), {"Content-Type": "application/json"}
    problem(ask(client, asked, json=None, content=b"{", headers=json), 400, "invalid_json")
    text = {"Content-Type": "text/plain"}
    problem(ask(client, asked, json=None, content=b"{}", headers=text), 415, "unsupported_media_type")
    large = b'{"reason": "' + b"x" * LIMITS.most_json + b'"}'
    problem(ask(client, asked, json=None, content=large, headers=json), 413, "body_too_large")
    problem(ask(client, asked, json={**(asked.body or {}), "why": "x"}), 422, "invalid_request")
    assert changed(connection) == before


@every_body
def test_a_body_that_does_not_come(
    client: httpx.Client, connection: Connection, asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    before = changed(connection)
    monkeypatch.setattr("generation_worker.web.requests.READ_WITHIN", 0.05)
    head = f"{asked.method} {asked.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9"
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30) as raw:
        raw.sendall(f"{head}\r\n\r\n{{".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 408 ")
    assert changed(connection) == before


def test_a_database_that_does_not_answer(client: httpx.Client, database: Database):
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE fleet_setting, generation_job IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(len(ROUTES)) as pool:
            answers = list(pool.map(partial(ask, client), ROUTES))
    for answer in answers:
        problem(answer, 503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
