"""Pictures come through this server, from the storage, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.storage.disk import DiskStorage
from generation_worker.web.pages import pictures
from generation_worker.worker.image_keys import upload_key
from tests.support import jobs
from tests.support.database import Connection
from tests.support.waiting import wait_until
from tests.web.pages.conftest import OpenBrowser, SignIn
from tests.web.served_api import Api

Put = Callable[[str, bytes], None]


@pytest.fixture
def put(served: Api) -> Put:
    def write(key: str, data: bytes) -> None:
        DiskStorage(Path(served.storage)).put(key, data, "image/webp")

    return write


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TURN_WITHIN", 0.2)


def result(**image: Any) -> dict[str, Any]:
    return {"images": [image]}


def completed(connection: Connection, **image: Any) -> UUID:
    return jobs.put_job(connection, "completed", result=result(**image))


def at(job: UUID, number: int = 0, size: str = "", folder: str = "images") -> str:
    return f"/dashboard/jobs/{job}/{folder}/{number}{'?size=' + size if size else ''}"


def test_the_thumbnail_or_the_whole(sign_in: SignIn, connection: Connection, put: Put):
    put("images/a.png", b"whole")
    put("thumbnails/a.webp", b"small")
    job = completed(connection, key="images/a.png", content_type="text/html", thumbnail_key="thumbnails/a.webp")
    client = sign_in("read").client
    small, whole = client.get(at(job)), client.get(at(job, size="full"))
    assert (small.content, small.headers["content-type"]) == (b"small", "image/webp")
    assert (whole.content, whole.headers["content-type"]) == (b"whole", "image/png")
    for answer in (small, whole):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["cache-control"] == "private, max-age=3600"
    assert client.get(at(completed(connection, key="images/a.png"))).content == b"whole"


def test_only_what_the_row_names_and_only_pictures(sign_in: SignIn, connection: Connection, put: Put):
    put("secret.html", b"<script>")
    put("images/a.png", b"whole")
    client = sign_in("read").client
    for image in (
        {"key": "secret.html", "content_type": "image/png"},
        {"key": "../a.png"},
        {"key": "gone.webp"},
        {"key": 5},
        {},
    ):
        assert client.get(at(completed(connection, **image))).status_code == 404
    job = completed(connection, key="images/a.png")
    assert client.get(at(job, 1)).status_code == 404
    assert client.get(at(job, size="full") + "&key=secret.html").content == b"whole"
    assert client.get(at(uuid4())).status_code == 404
    assert client.get(at(job, -1)).status_code == 422
    assert client.get(at(job, size="huge")).status_code == 422


def test_inputs_that_lie_in_our_storage(sign_in: SignIn, connection: Connection, put: Put):
    upload = upload_key("ada", uuid4(), "image/jpeg")
    put(upload, b"me")
    put("shop/coat.png", b"of an app")
    payload = {"user_image": {"key": upload}, "cloth_image": {"key": "shop/coat.png"}}
    job = jobs.put_job(connection, kind="image_conversion", payload=payload)
    client = sign_in("read").client
    shown = client.get(at(job, 0, folder="inputs"))
    assert (shown.content, shown.headers["content-type"]) == (b"me", "image/jpeg")
    assert client.get(at(job, 1, folder="inputs")).status_code == 404
    assert client.get(at(job, 2, folder="inputs")).status_code == 404
    assert client.get(at(uuid4(), 0, folder="inputs")).status_code == 404


def test_nobody_sees_them_who_is_not_signed_in(served: Api, sign_in: SignIn, connection: Connection, put: Put):
    put("images/a.png", b"whole")
    job = completed(connection, key="images/a.png")
    other = sign_in("read")
    connection.execute("DELETE FROM dashboard_session")
    connection.execute("UPDATE api_token SET revoked_at = now()")
    wait_until(lambda: other.client.get(at(job)).status_code == 303, "the key lets nobody in")
    with httpx.Client(base_url=served.client.base_url, trust_env=False) as stranger:
        answer = stranger.get(at(job))
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/dashboard/sign-in")


def test_a_storage_that_is_away_is_told(sign_in: SignIn, connection: Connection, monkeypatch: pytest.MonkeyPatch):
    def away(_self: DiskStorage, _key: str) -> bytes:
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(DiskStorage, "get", away)
    answer = sign_in("read").client.get(at(completed(connection, key="images/a.png")))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_storage_that_hangs_keeps_nobody_else_waiting(
    impatient: None,
    served_alone: Api,
    open_browser: OpenBrowser,
    secret: Callable[..., str],
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
):
    """As many as may read at once hang; the next ones are told to come again, and pages are shown as ever."""
    ended, reading = threading.Event(), threading.Semaphore(0)

    def hang(_self: DiskStorage, _key: str) -> bytes | None:
        reading.release()
        ended.wait(60)
        return b"late"

    monkeypatch.setattr(DiskStorage, "get", hang)
    job = completed(connection, key="images/a.png")
    browser = open_browser(str(served_alone.client.base_url))
    assert browser.sign_in(secret("read")).status == 200
    with ThreadPoolExecutor(pictures.AT_ONCE) as pool:
        try:
            hung = [pool.submit(browser.client.get, at(job)) for _ in range(pictures.AT_ONCE)]
            for _ in hung:
                assert reading.acquire(timeout=30)
            answers = [browser.client.get(at(job)) for _ in range(3)]
            assert {(each.status_code, each.headers["retry-after"]) for each in answers} == {(503, "5")}
            assert browser.open(f"/dashboard/jobs/{job}").status == 200
        finally:
            ended.set()
        assert {each.result().content for each in hung} == {b"late"}
    wait_until(lambda: browser.client.get(at(job)).status_code == 200, "there are turns again")
