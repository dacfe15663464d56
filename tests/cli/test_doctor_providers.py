"""`doctor` and the providers, which are servers on loopback that speak their wire formats."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generation_worker.providers.gemini import GeminiProvider
from tests.cli.conftest import Command
from tests.simulators import replies
from tests.simulators.gemini import KEY, GeminiSimulator
from tests.simulators.gemini_bodies import MODEL
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.server import SimulatorServer
from tests.support.findings import Found, by_check


class Simulated:
    """Both providers, and the server that they stand behind."""

    def __init__(self, server: SimulatorServer) -> None:
        self.gemini = GeminiSimulator()
        self.gemini.accepted = frozenset({KEY})
        self.replicate = ReplicateSimulator()
        server.simulators = [self.gemini, self.replicate]
        self.environment = server.environment()


@pytest.fixture(autouse=True)
def simulated(settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with SimulatorServer() as server:
        simulated = Simulated(server)
        for name, value in simulated.environment.items():
            monkeypatch.setenv(name, value)
        yield simulated


def look(cli: Command, *options: str) -> tuple[int, dict[str, Found]]:
    done = cli("doctor", "--json", "--only", "providers", *options)
    found = by_check(done.json)
    assert set(found) == {"providers.gemini", "providers.replicate", "providers.local"}
    return done.status, {name.removeprefix("providers."): finding for name, finding in found.items()}


def test_good_keys_cost_nothing(cli: Command, simulated: Simulated):
    status, found = look(cli)
    assert (status, {finding.status for finding in found.values()}) == (0, {"ok"})
    assert len(simulated.gemini.looks) == 1
    assert simulated.gemini.requests == []
    assert [request.kind for request in simulated.replicate.requests] == ["account", "model"]


def test_each_of_several_keys_is_looked_at(cli: Command, monkeypatch: pytest.MonkeyPatch, simulated: Simulated):
    monkeypatch.setenv("GEMINI_API_KEY", f"{KEY},another-key-that-is-wrong")
    done = cli("doctor", "--json", "--only", "providers.gemini")
    assert [finding["status"] for finding in done.json] == ["ok", "fault"]
    wrong = label("another-key-that-is-wrong")
    assert done.json[1]["detail"].startswith(
        f"{wrong}: Google refuses this key or project (400 INVALID_ARGUMENT: API key not valid"
    )
    assert "GEMINI_API_KEY" in done.json[1]["remedy"]
    assert done.status == 1


def test_a_model_that_is_retired(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEMINI_MODEL", "gemini-2.5-flash-image")
    status, found = look(cli)
    assert (status, found["gemini"].status, found["replicate"].status) == (1, "fault", "ok")
    assert "gemini-2.5-flash-image" in found["gemini"].detail
    assert "GEMINI_MODEL" in found["gemini"].remedy
    settings = cli("doctor", "--json", "--only", "settings").json
    assert any(f"which Google has retired for images: use {MODEL}" in finding["detail"] for finding in settings)


def test_a_wrong_token(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_wrong")
    status, found = look(cli)
    assert (status, found["gemini"].status, found["replicate"].status) == (1, "ok", "fault")
    assert "REPLICATE_API_TOKEN" in found["replicate"].remedy


def test_a_provider_that_hangs_holds_up_nobody(cli: Command, simulated: Simulated):
    simulated.gemini.script(replies.hang)
    status, found = look(cli, "--timeout", "5")
    assert (status, found["gemini"].status, found["replicate"].status) == (1, "fault", "ok")
    assert "The provider did not answer within 4 s" in found["gemini"].detail


def test_faults_that_are_played(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_FAULTS", "fox=hang")
    status, found = look(cli)
    assert (status, found["local"].status, found["local"].remedy) == (0, "warning", "Remove LOCAL_FAULTS")


def label(key: str) -> str:
    return GeminiProvider(key=key, model=MODEL, base_url=None, api_version="v1beta", timeout=1.0, threads=1).key_label
