"""The check of a token and a model for ``doctor``."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from generation_worker.domain.finding import Verdict
from generation_worker.ports import Checkable
from generation_worker.providers.replicate import ReplicateProvider
from tests.providers.replicate.helpers import make_provider
from tests.simulators import replies
from tests.simulators.replicate import TOKEN, ReplicateSimulator
from tests.simulators.replicate_bodies import MODEL, problem, throttled
from tests.simulators.replies import Reply, html_reply, json_reply
from tests.simulators.server import SimulatorServer

VERSION = "0123456789abcdef" * 4


def check(provider: ReplicateProvider, seconds: float = 20.0) -> Verdict:
    assert isinstance(provider, Checkable)
    return provider.check(seconds=seconds)


def asked(simulator: ReplicateSimulator) -> list[str]:
    return [request.path for request in simulator.requests]


def test_a_good_token_and_model(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    said = f"{provider.key_label}: the token of pixelglow is accepted, {MODEL} is there"
    assert check(provider) == ("ok", said, None)
    assert asked(simulator) == ["/v1/account", f"/v1/models/{MODEL}"]


def test_a_model_of_one_version(server: SimulatorServer, simulator: ReplicateSimulator) -> None:
    with closing(make_provider(server.url, model=f"{MODEL}:{VERSION}")) as provider:
        assert check(provider).status == "ok"
    assert asked(simulator)[1] == f"/v1/models/{MODEL}/versions/{VERSION}"


def test_a_wrong_token(server: SimulatorServer, simulator: ReplicateSimulator) -> None:
    with closing(make_provider(server.url, token="r8_wrong")) as provider:
        found = check(provider)
    assert found.status == "fault"
    assert "401: Unauthenticated" in found.detail
    assert "REPLICATE_API_TOKEN" in (found.remedy or "")
    assert asked(simulator) == ["/v1/account"]


def test_a_model_that_is_not_there(server: SimulatorServer, simulator: ReplicateSimulator) -> None:
    with closing(make_provider(server.url, model="google/imagen-4")) as provider:
        found = check(provider)
    assert found.status == "fault"
    assert "has no model 'google/imagen-4'" in found.detail
    assert "REPLICATE_MODEL" in (found.remedy or "")


@pytest.mark.parametrize("kind", ["account", "model"])
@pytest.mark.parametrize(
    ("reply", "status", "named"),
    [
        (json_reply(problem(402, "Insufficient credit", "none left"), 402), "fault", "billing"),
        (json_reply(throttled(5), 429), "warning", "Wait"),
        (html_reply(502), "fault", "REPLICATE_BASE_URL"),
        (html_reply(200), "fault", "REPLICATE_BASE_URL"),
        (replies.hang_up, "fault", "REPLICATE_BASE_URL"),
    ],
)
def test_every_answer_has_its_remedy(
    provider: ReplicateProvider, simulator: ReplicateSimulator, kind: str, reply: Reply, status: str, named: str
) -> None:
    simulator.script(kind, reply)
    found = check(provider)
    assert found.status == status
    assert named in (found.remedy or "")
    assert TOKEN not in f"{found}"


def test_an_answer_that_does_not_come_is_not_waited_for(
    provider: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    simulator.script("account", replies.hang)
    assert "did not answer in time" in check(provider, seconds=3.0).detail


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with closing(make_provider(f"http://127.0.0.1:{port}")) as provider:
        found = check(provider)
    assert found.status == "fault"
    assert "did not reach Replicate" in found.detail
