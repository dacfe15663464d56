"""Input images over HTTP: what is kept of a file, for whom, and what is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter
from PIL import Image

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.images.tools import ImageTools
from generation_worker.ports import Picture
from generation_worker.storage.disk import DiskStorage
from generation_worker.web.api import images as routes
from generation_worker.web.api.images import AT_ONCE, images_router
from generation_worker.web.auth import Guard
from generation_worker.worker.image_keys import UPLOAD_KEY, upload_folder
from tests.support import jobs
from tests.support.database import Connection
from tests.support.waiting import wait_until
from tests.web.answers import good, problem
from tests.web.conftest import MakeKey, Serve
from tests.web.served_api import Api

PATH = "/worker/images"


def file(kind: str = "PNG", side: int = 40, **settings: Any) -> bytes:
    data = BytesIO()
    Image.new("RGB", (side, side // 2), (200, 30, 30)).save(data, kind, **settings)
    return data.getvalue()


def sent(client: httpx.Client, data: bytes, headers: Any = None, kind: str = "image/png", **query: Any) -> Any:
    return client.post(PATH, content=data, headers={"Content-Type": kind, **(headers or {})}, params=query)


def test_an_image_is_kept_and_a_job_may_name_it(served: Api, connection: Connection, key: MakeKey):
    jobs.offer_local(connection)
    jobs.grant(connection, "ada")
    ada = key("enqueue", user="ada")
    kept = good(sent(served.client, file(), ada), 201)
    assert (kept["width"], kept["height"], kept["content_type"]) == (40, 20, "image/jpeg")
    assert kept["key"].startswith(upload_folder("ada"))
    assert UPLOAD_KEY.fullmatch(kept["key"])
    stored = (served.storage / kept["key"]).read_bytes()
    assert len(stored) == kept["bytes"]
    assert kept["url"] == f"https://images.test/{kept['key']}?seconds=900"
    assert kept["kept_until"] is not None
    operations = [{"type": "resize", "width": 10}]
    asked = {"kind": "image_processing", "payload": {"image": {"key": kept["key"]}, "operations": operations}}
    good(served.client.post("/worker/jobs", json=asked, headers=ada), 202)
    eve = key("enqueue", user="eve")
    problem(served.client.post("/worker/jobs", json=asked, headers=eve), 404, "image_not_found")


def test_it_is_written_anew(served: Api):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    exif[0x0112] = 6
    photo = file("JPEG", exif=exif)
    assert b"taken at home" in photo
    kept = good(sent(served.client, photo + b"<script>", kind="image/jpeg"), 201)
    assert (kept["width"], kept["height"]) == (20, 40)
    stored = (served.storage / kept["key"]).read_bytes()
    assert b"taken at home" not in stored
    assert b"<script>" not in stored


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_whose_it_is_stands_in_its_key(served: Api, key: MakeKey, kind: str, media_type: str):
    service, ada = key("enqueue"), key("enqueue", user="ada")
    for headers, query, owner in (
        (service, {}, None),
        (service, {"user_id": "bob"}, "bob"),
        (ada, {"user_id": "ada"}, "ada"),
    ):
        kept = good(sent(served.client, file(kind), headers, media_type, **query), 201)
        assert kept["key"].startswith(upload_folder(owner))
    problem(sent(served.client, file(), ada, user_id="bob"), 404, "user_not_found")


def test_a_file_whose_kind_the_client_does_not_know_is_looked_at(served: Api, key: MakeKey):
    """Generated clients send every file as octets."""
    kept = good(sent(served.client, file(), key("enqueue"), "application/octet-stream"), 201)
    assert kept["content_type"] in ("image/png", "image/jpeg")
    problem(sent(served.client, b"GIF89a", key("enqueue"), "application/octet-stream"), 422, "input_rejected")


def test_what_is_no_image_is_refused(served: Api, key: MakeKey):
    service = key("enqueue")
    for data in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(100), file()[:-20], b"<svg/>"):
        found = problem(sent(served.client, data, service), 422, "input_rejected")
        assert found["field"] == "body"
    for kind in ("image/gif", "application/json", "multipart/form-data", ""):
        problem(sent(served.client, file(), service, kind), 415, "unsupported_media_type")
    problem(sent(served.client, file(), service, user_id=""), 422, "invalid_request")
    problem(sent(served.client, file(), key("read")), 403, "missing_scope")
    problem(sent(served.client, file()), 401, "key_required")
    assert not list(served.storage.rglob("uploads/**/*.*"))


class Slow(ImageTools):
    """Opens an image when it is told to."""

    def __init__(self) -> None:
        super().__init__(1)
        self.go = threading.Event()
        self.asked = 0

    def open(self, data: bytes) -> Picture:
        self.asked += 1
        self.go.wait(60)
        return super().open(data)


class Away(DiskStorage):
    def put(self, key: str, data: bytes, content_type: str) -> None:
        raise StorageUnavailable("away")


@pytest.fixture
def served(served_alone: Api) -> Api:
    """A directory of its own."""
    return served_alone


@pytest.fixture
def slow() -> Iterator[Slow]:
    tools = Slow()
    yield tools
    tools.go.set()
    tools.close()


@pytest.fixture
def router(slow: Slow, tmp_path: Path) -> APIRouter:
    return images_router(DiskStorage(tmp_path), slow, most_bytes=1000, kept_for=0)


def test_it_is_not_too_large(serve: Serve, guard: Guard, router: APIRouter, slow: Slow):
    client = serve(router, guard=guard)
    slow.go.set()
    found = problem(sent(client, bytes(1001)), 413, "body_too_large")
    assert found["remedy"].startswith("Send a smaller image.")
    pieces = iter([bytes(600), bytes(600)])
    answer = client.post(PATH, content=pieces, headers={"Content-Type": "image/png"})
    problem(answer, 413, "body_too_large")
    assert slow.asked == 0
    small = file()
    assert len(small) <= 1000
    kept = good(sent(client, small), 201)
    assert kept["kept_until"] is kept["url"] is None


def test_few_are_held_at_once(serve: Serve, guard: Guard, router: APIRouter, slow: Slow, monkeypatch: Any):
    monkeypatch.setattr(routes, "TURN_WITHIN", 0.2)
    client = serve(router, guard=guard)
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(sent(client, file()))) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    wait_until(lambda: slow.asked == AT_ONCE, "all turns are taken")
    turned_away = sent(client, file())
    problem(turned_away, 503, "too_busy")
    assert int(turned_away.headers["retry-after"]) > 0
    slow.go.set()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [201] * AT_ONCE


def test_what_is_late_or_breaks_off_holds_up_nobody(serve: Serve, guard: Guard, router: APIRouter, monkeypatch: Any):
    monkeypatch.setattr(routes, "READ_WITHIN", 0.2)
    client = serve(router, guard=guard)
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += "Content-Type: image/png\r\nContent-Length: 900\r\n\r\n"
    for _ in range(AT_ONCE + 1):
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as late:
            late.sendall(head.encode() + b"abc")
            assert b"body_late" in late.makefile("rb").read()


def test_a_storage_or_image_process_that_is_away_is_not_the_senders_fault(
    serve: Serve, guard: Guard, slow: Slow, tmp_path: Path
):
    slow.go.set()
    client = serve(images_router(Away(tmp_path), slow, most_bytes=1000, kept_for=0), guard=guard)
    problem(sent(client, file()), 503, "storage_unavailable")
    slow.close()
    answer = sent(client, file())
    problem(answer, 503, "images_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_the_key_says_nothing_of_a_name():
    assert "ada" not in upload_folder("ada") != upload_folder("bob")
    assert not UPLOAD_KEY.fullmatch(f"uploads/me/{uuid4()}.png")
