"""A webhook over HTTP: what is let in, what is refused and why, and who is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import APIRouter

from generation_worker.domain.webhook import Notice
from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable
from generation_worker.providers.replicate import ReplicateWebhook
from generation_worker.web.api import provider_webhooks as webhooks
from generation_worker.web.api.provider_webhooks import BODIES, WebhookReceiver, router
from generation_worker.web.auth import open_to_all
from generation_worker.worker import signals
from tests.simulators.replicate_bodies import succeeded
from tests.simulators.replicate_hooks import OTHER_SECRET, SECRET, signed
from tests.support.waiting import wait_until
from tests.web.conftest import Serve
from tests.worker.scripted_store import RecordedEvents

PATH = "/worker/providers/replicate/webhook"
BODY = json.dumps(succeeded(None)).encode()
ID = succeeded(None)["id"]


class Inbox(signals.Inbox):
    """Keeps the notices. ``here``: somebody in this process waits; ``away``: the database does not answer."""

    __setattr__ = object.__setattr__  # the real one is frozen

    def __init__(self) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.here = False
        self.away = False
        self.hang = threading.Event()
        self.hang.set()
        self.posted: list[Notice] = []
        self.sent: list[Notice] = []

    def post(self, notice: Notice) -> bool:
        self.posted.append(notice)
        return self.here

    def send(self, notice: Notice) -> None:
        self.hang.wait(60)
        if self.away:
            raise StoreUnavailable("away")
        self.sent.append(notice)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.hang.set()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def told(events: Events) -> RecordedEvents:
    return RecordedEvents(events)


@pytest.fixture
def client(serve: Serve, inbox: Inbox, events: Events) -> httpx.Client:
    return serve(other_routes(), router, webhook_receivers=receivers(inbox, events))


def receivers(inbox: Inbox, events: Events) -> dict[str, WebhookReceiver]:
    return {"replicate": WebhookReceiver("replicate", ReplicateWebhook([SECRET]), inbox, events)}


def other_routes() -> APIRouter:
    """A route that needs a thread to answer."""
    router = APIRouter()

    @router.get("/elsewhere")
    @open_to_all
    def elsewhere() -> None:  # pyright: ignore[reportUnusedFunction]
        return

    return router


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; the rest has to be there."""
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["title"]
    assert said["detail"].endswith(".")
    return said["status"], said["code"]


def test_a_notice_is_taken_and_told_here_and_to_the_fleet(
    client: httpx.Client, inbox: Inbox, told: RecordedEvents
) -> None:
    answer = client.post(PATH, content=BODY, headers=signed(BODY, "msg_1"))
    assert (answer.status_code, answer.content) == (204, b"")
    assert inbox.posted == inbox.sent == [Notice.of(ID, "msg_1")]
    assert told.fields("webhook.received") == {"provider": "replicate", "woken": False}


def test_nobody_needs_to_know_the_call(client: httpx.Client, inbox: Inbox) -> None:
    for here in (True, False):
        inbox.here = here
        assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204


def test_one_that_comes_again_is_the_same_notice(client: httpx.Client, inbox: Inbox) -> None:
    for _ in range(3):
        assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204
    assert set(inbox.posted) == set(inbox.sent) == {Notice.of(ID, "msg_1")}


def test_who_has_not_signed_is_not_believed(client: httpx.Client, inbox: Inbox) -> None:
    for headers in ({}, signed(BODY, "msg_1", secret=OTHER_SECRET), signed(BODY, "msg_1", at=1e9)):
        assert problem(client.post(PATH, content=BODY, headers=headers)) == (401, "invalid_signature")
    assert inbox.posted == inbox.sent == []


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"id": 7}', b"[" * 100_000])
def test_what_is_signed_and_no_prediction_is_refused(client: httpx.Client, inbox: Inbox, body: bytes) -> None:
    assert problem(client.post(PATH, content=body, headers=signed(body, "msg_1"))) == (400, "invalid_body")
    assert inbox.posted == inbox.sent == []


@pytest.mark.parametrize("size", [ReplicateWebhook.most_bytes, ReplicateWebhook.most_bytes + 1])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_body_has_a_limit_whether_or_not_its_length_is_told(
    client: httpx.Client, inbox: Inbox, size: int, in_pieces: bool
) -> None:
    body = BODY.ljust(size)
    content = (body[start : start + 1_000_000] for start in range(0, size, 1_000_000)) if in_pieces else body
    fits = size == ReplicateWebhook.most_bytes
    try:
        answer = client.post(PATH, content=content, headers=signed(body, "msg_1"))
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        assert not fits  # the connection may be closed before all is written, and the answer be lost with it
    else:
        assert answer.status_code == 204 if fits else problem(answer) == (413, "body_too_large")
    assert len(inbox.posted) == fits


def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(client: httpx.Client) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 8000001\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_bodies_that_do_not_come_are_not_waited_for_and_others_get_their_turn(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "READ_WITHIN", 0.3)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    address = ("127.0.0.1", client.base_url.port or 0)
    connections = [socket.create_connection(address, timeout=30) for _ in range(3 * BODIES)]
    try:
        for connection in connections:
            connection.sendall(head.encode())
        for connection in connections:
            assert connection.recv(1000)[:13] in (b"HTTP/1.1 408 ", b"HTTP/1.1 503 ")  # or its turn did not come
    finally:
        for connection in connections:
            connection.close()
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204


def test_so_many_bodies_are_held_at_once(client: httpx.Client, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "READ_WITHIN", 600.0)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of"
    address = ("127.0.0.1", client.base_url.port or 0)
    connections = [socket.create_connection(address, timeout=30) for _ in range(BODIES)]
    try:
        for connection in connections:
            connection.sendall(head.encode())
        assert client.get("/elsewhere").status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            client.post(PATH, content=BODY, headers=signed(BODY, "msg_1"), timeout=0.5)
        assert inbox.posted == []
    finally:
        for connection in connections:
            connection.close()
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204


def test_a_body_that_breaks_off_leaves_the_server_as_it_was(
    client: httpx.Client, inbox: Inbox, told: RecordedEvents
) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of"
    for _ in range(2 * BODIES):
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=30) as connection:
            connection.sendall(head.encode())
    wait_until(lambda: "webhook.refused" in told.names, "the end of a body is noticed")
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204
    assert len(inbox.posted) == 1


# the database is away


def test_if_nobody_can_be_told_it_shall_come_again(client: httpx.Client, inbox: Inbox) -> None:
    inbox.away = True
    answer = client.post(PATH, content=BODY, headers=signed(BODY, "msg_1"))
    assert problem(answer) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert inbox.posted == [Notice.of(ID, "msg_1")]
    inbox.away = False
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204
    assert inbox.sent == [Notice.of(ID, "msg_1")]


def test_if_somebody_here_waits_the_database_does_not_matter(client: httpx.Client, inbox: Inbox) -> None:
    inbox.away = inbox.here = True
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 204


@pytest.mark.parametrize(("here", "status"), [(True, 204), (False, 503)])
def test_a_database_that_hangs_is_not_waited_for(
    client: httpx.Client, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, here: bool, status: int
) -> None:
    monkeypatch.setattr(webhooks, "SEND_WITHIN", 0.1)
    inbox.here = here
    inbox.hang.clear()
    assert client.post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == status


def test_other_routes_answer_while_webhooks_hang(
    client: httpx.Client, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than there are threads for all routes together."""
    monkeypatch.setattr(webhooks, "SEND_WITHIN", 60.0)
    monkeypatch.setattr(webhooks, "READ_WITHIN", 60.0)
    inbox.hang.clear()
    number = 60
    with ThreadPoolExecutor(number) as threads:
        hooks = [
            threads.submit(client.post, PATH, content=BODY, headers=signed(BODY, f"msg_{each}"))
            for each in range(number)
        ]
        wait_until(lambda: len(inbox.posted) >= BODIES, "webhooks come in")
        assert {client.get("/elsewhere").status_code for _ in range(100)} == {200}
        assert not any(hook.done() for hook in hooks)
        inbox.hang.set()
        assert {hook.result().status_code for hook in hooks} == {204}


# what is served, and what is told


def test_only_providers_with_a_secret_have_a_path(serve: Serve, inbox: Inbox, events: Events) -> None:
    client = serve(router, webhook_receivers=receivers(inbox, events))
    assert client.post("/worker/providers/gemini/webhook", content=BODY).status_code == 404
    assert client.get(PATH).status_code == 405
    assert serve().post(PATH, content=BODY, headers=signed(BODY, "msg_1")).status_code == 404


def test_refusals_are_told_once_in_a_while(
    client: httpx.Client, told: RecordedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        client.post(PATH, content=BODY)
    client.post(PATH, content=b"", headers=signed(b"", "msg_1"))
    told_of = [(fields["error_code"], fields["times"]) for name, fields in told.events if name == "webhook.refused"]
    assert told_of == [("invalid_signature", 1), ("invalid_body", 1)]
    monkeypatch.setattr(webhooks, "REPORT_EVERY", 0.0)
    client.post(PATH, content=BODY)
    assert told.fields("webhook.refused")["times"] == 5
