"""Whatever goes wrong, `doctor` tells no secret: not in what it says itself, nor in what libraries and servers say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generation_worker.db.embedded import free_port
from tests.cli.conftest import Command
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import error
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.replicate_bodies import problem
from tests.simulators.replies import Reply, json_reply, raw_reply
from tests.simulators.s3.proxy import Answer, Forward, Request, proxy_before
from tests.simulators.server import SimulatorServer

CANARIES = {
    "GEMINI_API_KEY": "canary-gemini-one,canary-gemini-two",
    "REPLICATE_API_TOKEN": "r8_canary-replicate",
    "AWS_ACCESS_KEY_ID": "canary-key-id",
    "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
    "SUPABASE_SERVICE_ROLE_KEY": "canary-service-role",
}
ECHOES: list[tuple[str, Reply, Reply]] = [
    (
        "in its words",
        json_reply(error(403, "PERMISSION_DENIED", "canary-gemini-one canary-gemini-two may not"), 403),
        json_reply(problem(401, "r8_canary-replicate", "r8_canary-replicate is wrong"), 401),
    ),
    ("as a page", raw_reply(b"<h1>canary-gemini-one r8_canary-replicate", 500), raw_reply(b"r8_canary-replicate", 500)),
    ("as an answer", json_reply({"name": "canary-gemini-one"}), json_reply({"username": "r8_canary-replicate"})),
]


def echo(request: Request, forward: Forward) -> Answer:
    """A server that repeats all that it was told."""
    said = f"{request.path} {request.headers}".encode()
    return Answer(403, {"Content-Type": "text/plain", "X-Said": request.headers.get("Authorization", "")}, said)


@pytest.fixture
def hostile(settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[GeminiSimulator, ReplicateSimulator]]:
    """Everything is set, and nothing works."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    gemini, replicate = GeminiSimulator(), ReplicateSimulator()
    with SimulatorServer([gemini, replicate]) as server, proxy_before("http://127.0.0.1:1") as storage:
        storage.fail(*[echo] * 50)
        for name, value in {**server.environment(), **CANARIES}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("S3_BUCKET", "images")
        monkeypatch.setenv("S3_ENDPOINT_URL", storage.address)
        monkeypatch.setenv("DATABASE_URL", f"postgresql://app:canary-password@127.0.0.1:{free_port()}/app")
        monkeypatch.setenv("DIRECT_URL", f"postgresql://app:canary%2Fdirect@127.0.0.1:{free_port()}/app")
        yield gemini, replicate


@pytest.mark.parametrize(("way", "of_gemini", "of_replicate"), ECHOES, ids=[way for way, _, _ in ECHOES])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["people", "json"])
def test_no_secret_is_told(
    process: Command,
    hostile: tuple[GeminiSimulator, ReplicateSimulator],
    way: str,
    of_gemini: Reply,
    of_replicate: Reply,
    options: list[str],
):
    gemini, replicate = hostile
    gemini.script(of_gemini, of_gemini)
    replicate.script("account", of_replicate)
    replicate.script("model", of_replicate)
    done = process("doctor", *options)
    said = done.out + done.err
    assert done.status == 1
    assert "storage.put" in said
    assert "canary" not in said
    assert "X-Amz-Signature=" not in said
    assert done.err == ""


def test_an_address_that_cannot_be_read_is_not_told(process: Command, settings: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:canary@pass@word@host/app")
    monkeypatch.setenv("DIRECT_URL", "canary-alone")
    done = process("doctor", "--only", "settings,database")
    assert done.status == 2
    assert "DATABASE_URL cannot be read" in done.out
    assert "canary" not in done.out + done.err
