"""The check of a key and a model for ``doctor``: it costs nothing, and every problem has a remedy."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from generation_worker.domain.finding import Verdict
from generation_worker.ports import Checkable
from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.helpers import KEY, make_provider
from tests.simulators import replies
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import MODEL, error, rate_limited
from tests.simulators.replies import Reply, html_reply, json_reply
from tests.simulators.server import SimulatorServer


def check(provider: GeminiProvider, seconds: float = 20.0) -> Verdict:
    assert isinstance(provider, Checkable)
    return provider.check(seconds=seconds)


def test_a_good_key_and_model_are_asked_for_and_not_used(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    said = f"{provider.key_label}: the key is accepted, {MODEL} (Nano Banana) is there"
    assert check(provider) == ("ok", said, None)
    [look] = simulator.looks
    assert look.path == f"/v1beta/models/{MODEL}"
    assert look.headers["x-goog-api-key"] == KEY
    assert simulator.requests == []


def test_a_wrong_key(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    simulator.accepted = frozenset({"another"})
    found = check(provider)
    assert found.status == "fault"
    assert "API key not valid" in found.detail
    assert found.remedy is not None
    assert "GEMINI_API_KEY" in found.remedy


def test_a_model_that_is_not_there(server: SimulatorServer, simulator: GeminiSimulator) -> None:
    with closing(make_provider(server.url, model="gemini-2.5-flash-image")) as provider:
        found = check(provider)
    assert found.status == "fault"
    assert "has no model 'gemini-2.5-flash-image'" in found.detail
    assert found.remedy is not None
    assert "GEMINI_MODEL" in found.remedy


def test_a_model_of_another_kind(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    simulator.models[MODEL] = ["embedContent"]
    found = check(provider)
    assert found.status == "fault"
    assert "(embedContent)" in found.detail


@pytest.mark.parametrize(
    ("reply", "status", "named"),
    [
        (json_reply(error(403, "PERMISSION_DENIED", "blocked"), 403), "fault", "GEMINI_API_KEY"),
        (json_reply(error(402, "RESOURCE_EXHAUSTED", "prepaid credits"), 402), "fault", "billing"),
        (json_reply(error(400, "FAILED_PRECONDITION", "location"), 400), "fault", "billing"),
        (json_reply(rate_limited("5s"), 429), "warning", "Wait"),
        (json_reply(error(503, "UNAVAILABLE", "overloaded"), 503), "fault", "GEMINI_BASE_URL"),
        (json_reply({}), "fault", "GEMINI_BASE_URL"),
        (html_reply(404), "fault", "GEMINI_BASE_URL"),
        (html_reply(200), "fault", "GEMINI_BASE_URL"),
        (replies.hang_up, "fault", "GEMINI_BASE_URL"),
    ],
)
def test_every_answer_has_its_remedy(
    provider: GeminiProvider, simulator: GeminiSimulator, reply: Reply, status: str, named: str
) -> None:
    simulator.script(reply)
    found = check(provider)
    assert found.status == status
    assert found.detail.startswith(f"{provider.key_label}: ")
    assert named in (found.remedy or "")
    assert KEY not in f"{found}"


def test_an_answer_that_does_not_come_is_not_waited_for(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    simulator.script(replies.hang)
    assert "did not answer within 0.2 s" in check(provider, seconds=0.2).detail


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with closing(make_provider(f"http://127.0.0.1:{port}")) as provider:
        found = check(provider)
    assert found.status == "fault"
    assert "did not reach Gemini" in found.detail
