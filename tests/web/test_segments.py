"""Ids of users that hold what a path is made of, as they are sent: percent-encoded, by real HTTP."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.database import Connection
from tests.web.answers import problem
from tests.web.conftest import MakeKey

USERS = [
    "a/b", "/", "//", "a/", "/a", "ada/entries", "ada/grant", "..", ".", "../ada", "%", "%2F", "a%2Fb", "%252F", "%zz",
    "a b", " ", "a+b", "a?b", "a#b", "a&b=c", "a;b", "a:b@c", "ünï/çø∂é", "日本/🎨", "e\u0301", "\u2028", "a\nb",
    "/" * 255,
]  # fmt: skip


def ask(client: httpx.Client, method: str, path: str, headers: Any, body: Any = None) -> httpx.Response:
    """What is sent is ``path``, letter by letter: no client makes another one of it."""
    connection = HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
    finally:
        connection.close()


def encoded(user: str) -> str:
    """Every byte of it."""
    return "/worker/credits/" + "".join(f"%{byte:02x}" for byte in user.encode())


def usual(user: str) -> str:
    """As clients do it."""
    return "/worker/credits/" + quote(user, safe="")


@pytest.mark.parametrize("path", [encoded, usual])
def test_every_id_names_its_own_account(client: httpx.Client, connection: Connection, key: MakeKey, path: Any):
    admin = key("admin")
    for amount, user in enumerate(USERS, 1):
        given = ask(
            client, "POST", path(user) + "/grant", admin | {"Idempotency-Key": f"a-{amount}"}, {"amount": amount}
        )
        assert given.json() == {"user_id": user, "entry": 1, "balance": amount, "duplicate": False}
    for amount, user in enumerate(USERS, 1):
        account = ask(client, "GET", path(user), admin).json()
        assert (account["user_id"], account["balance"], account["entries"]) == (user, amount, 1)
        [entry] = ask(client, "GET", path(user) + "/entries?limit=5", admin).json()["entries"]
        assert entry["amount"] == amount
    found = connection.execute("SELECT user_id, balance FROM credit_account").fetchall()
    assert dict(found) == {user: amount for amount, user in enumerate(USERS, 1)}


def test_the_usual_clients_send_it_so(client: httpx.Client, key: MakeKey):
    admin = key("admin") | {"Idempotency-Key": "a"}
    for user in ("a/b", "ünï/ço∂é", "100 %"):
        assert client.post(usual(user) + "/grant", json={"amount": 1}, headers=admin).json()["user_id"] == user
        assert client.get(usual(user), headers=admin).json()["user_id"] == user


def test_an_encoded_slash_leads_to_nobody_else(client: httpx.Client, connection: Connection, key: MakeKey):
    admin, ada = key("admin"), key("read", user="ada")
    ask(client, "POST", "/worker/credits/ada/grant", admin | {"Idempotency-Key": "a"}, {"amount": 7})
    for path in ("ada%2Fentries", "ada%2fgrant", "ada%2F", "%2Fada", "ada%2F%2E%2E%2Fada", "ada%2Fentries/"):
        assert ask(client, "GET", f"/worker/credits/{path}", admin).status_code == 404
        assert ask(client, "GET", f"/worker/credits/{path}", ada).status_code == 404
    assert ask(client, "POST", "/worker/credits/ada%2Fgrant", admin, {"amount": 1}).status_code == 405
    assert connection.execute("SELECT user_id, balance FROM credit_account").fetchall() == [("ada", 7)]


def test_a_key_of_such_a_user_sees_their_account(client: httpx.Client, key: MakeKey):
    admin, theirs, others = key("admin"), key("read", user="a/b"), key("read", user="a")
    ask(client, "POST", "/worker/credits/a%2Fb/grant", admin | {"Idempotency-Key": "a"}, {"amount": 7})
    assert ask(client, "GET", "/worker/credits/a%2Fb", theirs).json()["balance"] == 7
    problem(ask(client, "GET", "/worker/credits/a%2Fb", others), 404, "user_not_found")


def test_bytes_that_are_no_text_name_nobody(client: httpx.Client, connection: Connection, key: MakeKey):
    operator = key("operate") | {"Idempotency-Key": "a"}
    for wrong in ("%FF", "a%C3", "%ED%A0%80", "a%2F%FF", "%00", "a" * 256, "%C3%A9" * 256):
        answer = ask(client, "POST", f"/worker/credits/{wrong}/grant", operator, {"amount": 1})
        assert problem(answer, 422, "invalid_request")["field"] == "path.user_id", wrong
    assert connection.execute("SELECT FROM credit_account").fetchall() == []


def test_other_parts_of_the_path_are_read_as_ever(client: httpx.Client, key: MakeKey):
    admin = key("admin")
    ask(client, "POST", "/worker/cr%65dits/ada/gr%61nt", admin | {"Idempotency-Key": "a"}, {"amount": 7})
    assert ask(client, "GET", "/%77orker/credits/%61da", admin).json()["balance"] == 7
    problem(ask(client, "GET", "/worker%2Fcredits/ada", admin), 404, "not_found")
    problem(ask(client, "PUT", "/worker/credits/a%2Fb", admin), 405, "method_not_allowed")


def test_the_document_names_the_same_paths(client: httpx.Client):
    paths = client.get("/openapi.json").json()["paths"]
    found = sorted(path for path in paths if path.startswith("/worker/credits"))
    tail = ["", "/entries", "/grant"]
    assert found == [f"/worker/credits/{{user_id}}{end}" for end in tail]
    [parameter] = [each for each in paths[found[0]]["get"]["parameters"] if each["in"] == "path"]
    assert parameter["name"] == "user_id"
    assert "%2F" in parameter["description"]
