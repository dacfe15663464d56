"""Who is let in, who is not, and how soon that changes."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute

from generation_worker.db import access
from generation_worker.db.access import create_token, revoke_token
from generation_worker.db.query import Queries
from generation_worker.domain.token import read_key
from generation_worker.web.app import create_app
from generation_worker.web.auth import (
    CACHE_SECONDS,
    Caller,
    Guard,
    GuardedRoute,
    KeyLimits,
    is_local,
    needs,
    open_to_all,
    scope_of,
)
from generation_worker.web.problems import Problem
from tests.support.database import Connection, queries_on
from tests.web.conftest import LIMITS, MakeKey, Serve


def echo_router() -> APIRouter:
    """One route for each scope; each says who called."""
    router = APIRouter(prefix="/worker", route_class=GuardedRoute)

    def said(caller: Caller) -> dict[str, Any]:
        return {"name": caller.name, "user": caller.user_id}

    @router.get("/read")
    def read(caller: Annotated[Caller, needs("read")]) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return said(caller)

    @router.get("/fleet")
    def fleet(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("read", whole_fleet=True)],
    ) -> dict[str, Any]:
        return said(caller)

    @router.post("/grant")
    def grant(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("admin")], body: dict[str, Any]
    ) -> dict[str, Any]:
        return said(caller) | {"body": body}

    return router


@pytest.fixture
def client(serve: Serve, guard: Guard) -> httpx.Client:
    return serve(echo_router(), guard=guard)


def said(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    return answer.status_code, problem["code"]


def test_a_key_lets_in_whoever_shows_it(client: httpx.Client, key: MakeKey):
    answer = client.get("/worker/read", headers=key("read", user="ada"))
    assert answer.status_code == 200
    assert answer.json()["user"] == "ada"
    assert answer.json()["name"].startswith("key:")


def test_a_key_does_what_its_scopes_say(client: httpx.Client, key: MakeKey):
    reader, admin = key("read"), key("admin")
    assert said(client.post("/worker/grant", headers=reader, json={})) == (403, "missing_scope")
    assert said(client.get("/worker/read", headers=key("enqueue"))) == (403, "missing_scope")
    assert client.post("/worker/grant", headers=admin, json={}).status_code == 200
    assert client.get("/worker/read", headers=admin).status_code == 200


def test_a_key_of_one_user_learns_nothing_of_all(client: httpx.Client, key: MakeKey):
    assert said(client.get("/worker/fleet", headers=key("read", user="ada"))) == (403, "key_of_one_user")
    assert client.get("/worker/fleet", headers=key("read")).status_code == 200


def test_what_is_no_key_lets_nobody_in(client: httpx.Client, key: MakeKey):
    shown = key("read")["Authorization"]
    other = shown[:-1] + ("0" if shown[-1] != "0" else "1")
    unknown = "Bearer gw_live_" + "a" * 12 + "_" + "0" * 64
    for wrong in (other, unknown, shown.replace("Bearer", "Basic"), "Bearer", "Bearer x", shown + "0", shown[:-1]):
        answer = client.get("/worker/read", headers={"Authorization": wrong})
        assert said(answer) == (401, "invalid_key"), wrong
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = client.get("/worker/read")
    assert said(answer) == (401, "key_required")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_who_has_no_key_is_refused_before_the_body_is_read(client: httpx.Client, key: MakeKey):
    key("read")
    assert said(client.post("/worker/grant", content=b"{")) == (401, "key_required")


def test_without_any_key_this_machine_alone_is_answered(client: httpx.Client):
    assert client.get("/worker/fleet").json() == {"name": "loopback", "user": None}
    port = client.base_url.port
    for name, value in {
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
        "Host": f"evil.example:{port}",
        "Origin": "http://evil.example",
        "Sec-Fetch-Site": "cross-site",
    }.items():
        assert said(client.get("/worker/fleet", headers={name: value})) == (403, "loopback_only"), name
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/worker/fleet", headers=own).status_code == 200


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("192.0.2.1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_loopback_is_said_by_the_connection(peer: str | None, local: bool):
    headers = [(b"host", b"localhost:8080"), (b"x-client", b"127.0.0.1")]
    request = Request({"type": "http", "headers": headers, "client": (peer, 1) if peer else None})
    assert is_local(request) == local


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(key: str) -> Request:
    header = (b"authorization", f"Bearer {key}".encode())
    return Request({"type": "http", "headers": [header, (b"host", b"localhost")], "client": ("127.0.0.1", 1)})


def test_a_revoked_key_is_believed_for_a_second_at_most(connection: Connection, queries: Queries):
    clock = Clock()
    guard = Guard(queries, LIMITS, clock)
    made = create_token(queries_on(connection), "test", ["read"])
    assert guard.admit(shown(made.key)).name == f"key:{made.token.id}"
    assert CACHE_SECONDS <= 1
    revoke_token(queries_on(connection), made.token.id)
    clock.now += CACHE_SECONDS
    with pytest.raises(Problem) as caught:
        guard.admit(shown(made.key))
    assert caught.value.details.code == "invalid_key"


def test_an_expired_key_lets_nobody_in(connection: Connection, guard: Guard):
    made = create_token(queries_on(connection), "test", ["read"], lasts=3600)
    connection.execute("UPDATE api_token SET expires_at = now() - interval '1 second'")
    with pytest.raises(Problem, match="expired"):
        guard.admit(shown(made.key))


def test_to_revoke_the_last_key_opens_nothing(connection: Connection, client: httpx.Client):
    made = create_token(queries_on(connection), "test", ["read"])
    revoke_token(queries_on(connection), made.token.id)
    assert said(client.get("/worker/read")) == (401, "key_required")


def test_the_first_key_ends_the_time_without_keys(connection: Connection, queries: Queries):
    clock = Clock()
    guard = Guard(queries, LIMITS, clock)
    nothing = Request({"type": "http", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)})
    assert guard.admit(nothing).name == "loopback"
    create_token(queries_on(connection), "test", ["read"])
    clock.now += CACHE_SECONDS
    with pytest.raises(Problem) as caught:
        guard.admit(nothing)
    assert caught.value.details.code == "key_required"


def test_the_fleet_keeps_a_keys_pace_together(connection: Connection, queries: Queries):
    """Two processes, one key of 12 a minute: two may come at once, whichever process they reach."""
    made = create_token(queries_on(connection), "test", ["read"], requests_per_minute=12)
    guards = [Guard(queries, LIMITS) for _ in range(2)]
    for guard in guards:
        guard.admit(shown(made.key))
    for guard in guards:
        with pytest.raises(Problem) as caught:
            guard.admit(shown(made.key))
        assert caught.value.details.code == "too_many_requests"
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 5
    connection.execute("UPDATE api_token_pace SET next_at = next_at - interval '1 minute'")
    Guard(queries, LIMITS).admit(shown(made.key))


def test_who_was_turned_away_costs_no_further_question(connection: Connection, queries: Queries):
    made = create_token(queries_on(connection), "test", ["read"])
    guard = Guard(queries, KeyLimits(requests_per_minute=1, most_waiting=1, most_json=1000))
    guard.admit(shown(made.key))
    for _ in range(3):
        with pytest.raises(Problem):
            guard.admit(shown(made.key))
        connection.execute("DELETE FROM api_token_pace")


def test_another_keys_pace_is_its_own(connection: Connection, guard: Guard):
    slow = create_token(queries_on(connection), "slow", ["read"], requests_per_minute=1)
    guard.admit(shown(slow.key))
    guard.admit(shown(create_token(queries_on(connection), "other", ["read"]).key))
    with pytest.raises(Problem):
        guard.admit(shown(slow.key))


def test_knowing_a_keys_public_part_uses_up_nothing(connection: Connection, guard: Guard):
    made = create_token(queries_on(connection), "test", ["read"], requests_per_minute=1)
    for _ in range(3):
        with pytest.raises(Problem, match="unknown"):
            guard.admit(shown(made.key[:-64] + "0" * 64))
    guard.admit(shown(made.key))


def test_the_last_use_is_written_once_a_minute(connection: Connection, queries: Queries, guard: Guard):
    made = create_token(queries_on(connection), "test", ["read"])

    def last_use() -> Any:
        row = connection.execute("SELECT last_used_at FROM api_token").fetchone()
        assert row is not None
        return row[0]

    assert last_use() is None
    guard.admit(shown(made.key))
    first = last_use()
    guard.admit(shown(made.key))
    assert last_use() == first != None  # noqa: E711 - both
    connection.execute("UPDATE api_token SET last_used_at = now() - interval '2 minutes'")
    access.note_use(queries, made.token.id)
    assert last_use() > first


def test_nothing_that_is_stored_is_a_key(connection: Connection):
    made = create_token(queries_on(connection), "test", ["read"])
    row = connection.execute("SELECT api_token::text FROM api_token").fetchone()
    assert row is not None
    secret = made.key.rpartition("_")[2]
    assert secret not in row[0]
    presented = read_key(made.key)
    assert presented is not None
    assert presented.secret_hash.hex() in row[0]
    assert read_key(f"gw_live_{made.token.id}_{presented.secret_hash.hex()}") != presented


def test_a_route_that_says_nothing_is_refused():
    router = APIRouter()

    def forgotten() -> None: ...

    router.add_api_route("/worker/forgotten", forgotten)
    with pytest.raises(LookupError, match="forgotten"):
        create_app([router])
    open_to_all(forgotten)
    create_app([router])


def test_routes_say_their_scope():
    found = {route.path: scope_of(route) for route in echo_router().routes if isinstance(route, APIRoute)}
    assert found == {"/worker/read": "read", "/worker/fleet": "read", "/worker/grant": "admin"}
