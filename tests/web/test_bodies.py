"""How large a body may be: as each key says, or else the settings. What is larger is refused without being read."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support import jobs
from tests.support.database import Connection, Database
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey
from tests.web.served_api import Api, api

KIB = 1024
JSON = {"Content-Type": "application/json"}
ASKED = b'{"kind": "text_to_image", "user_id": "ada", "provider": "local", "payload": {"prompt": "a fox"}}'


@pytest.fixture(autouse=True)
def offered(connection: Connection) -> None:
    jobs.offer_local(connection)
    jobs.grant(connection, "ada", 100)


def enqueued(client: httpx.Client, size: int, key: dict[str, str]) -> httpx.Response:
    """A job, asked for in ``size`` bytes."""
    return client.post("/worker/jobs", content=ASKED.ljust(size), headers=JSON | key)


def uploaded(client: httpx.Client, size: int, key: dict[str, str]) -> httpx.Response:
    """An image, of which a file of ``size`` bytes begins with all."""
    data = BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    image = {"Content-Type": "image/png"} | key
    return client.post("/worker/images", content=data.getvalue().ljust(size, b"\0"), headers=image)


def test_each_key_has_its_own_limit(client: httpx.Client, key: MakeKey):
    small, large, usual = (key("enqueue", max_body_kb=limit) for limit in (4, 300, None))
    for headers, most in ((small, 4 * KIB), (large, 300 * KIB), (usual, 256 * KIB)):
        good(enqueued(client, most, headers), 202)
        found = problem(enqueued(client, most + 1, headers), 413, "body_too_large")
        assert (found["field"], str(most) in found["detail"]) == ("body", True)
        assert "--max-body" in found["remedy"]


def test_of_json_nobody_sends_more_than_a_mebibyte(client: httpx.Client, key: MakeKey):
    largest = key("enqueue", max_body_kb=50 * KIB)
    good(enqueued(client, 1024 * KIB, largest), 202)
    problem(enqueued(client, 1024 * KIB + 1, largest), 413, "body_too_large")


def test_the_settings_say_what_holds_for_other_keys(database: Database, tmp_path: Path, key: MakeKey):
    with api(database, tmp_path, API_MAX_BODY_KB="2") as running:
        usual, large = key("enqueue"), key("enqueue", max_body_kb=3)
        problem(enqueued(running.client, 2 * KIB + 1, usual), 413, "body_too_large")
        good(enqueued(running.client, 3 * KIB, large), 202)


def test_who_needs_no_key_has_the_limit_of_the_settings(client: httpx.Client):
    good(enqueued(client, 256 * KIB, {}), 202)
    problem(enqueued(client, 256 * KIB + 1, {}), 413, "body_too_large")


def test_a_keys_limit_lowers_that_of_uploads_and_does_not_raise_it(database: Database, tmp_path: Path, key: MakeKey):
    with api(database, tmp_path, UPLOAD_MAX_MB="1", API_MAX_BODY_KB="1") as running:
        small, large, usual = (key("enqueue", max_body_kb=limit) for limit in (4, 2048, None))
        for headers, most in ((small, 4 * KIB), (large, 1024 * KIB), (usual, 1024 * KIB)):
            good(uploaded(running.client, most, headers), 201)
            found = problem(uploaded(running.client, most + 1, headers), 413, "body_too_large")
            assert (found["field"], str(most) in found["detail"]) == ("body", True)
            assert "UPLOAD_MAX_MB" in found["remedy"]


@contextmanager
def begun(client: httpx.Client, path: str, kind: str, key: dict[str, str], *framing: str) -> Generator[socket.socket]:
    """A request of which only the head has been sent."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *framing]
    head += [f"{name}: {value}" for name, value in key.items()]
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as raw:
        raw.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        yield raw


BOTH = pytest.mark.parametrize(
    ("path", "kind"), [("/worker/jobs", "application/json"), ("/worker/images", "image/png")]
)


@BOTH
def test_a_body_that_says_that_it_is_too_large_is_not_asked_for(served: Api, key: MakeKey, path: str, kind: str):
    small = key("enqueue", max_body_kb=1)
    length = ("Expect: 100-continue", "Content-Length: 1025")
    with begun(served.client, path, kind, small, *length) as raw:
        assert said(raw).startswith("HTTP/1.1 413 ")
    with begun(served.client, path, kind, key("enqueue"), *length) as raw:
        assert raw.recv(100).startswith(b"HTTP/1.1 100 ")


@BOTH
def test_a_body_that_does_not_say_it_is_read_to_the_limit(served: Api, key: MakeKey, path: str, kind: str):
    """It never ends; the answer is there with the first byte that is too much, and so is the end of the connection."""
    small = key("enqueue", max_body_kb=1)
    with begun(served.client, path, kind, small, "Transfer-Encoding: chunked") as raw:
        raw.sendall(b"401\r\n" + bytes(1025) + b"\r\n")
        answer = said(raw)
    assert answer.startswith("HTTP/1.1 413 ")
    assert "body_too_large" in answer


def said(raw: socket.socket) -> str:
    """All that comes until the server ends the connection."""
    parts: list[Any] = list(iter(lambda: raw.recv(65536), b""))
    return b"".join(parts).decode()
