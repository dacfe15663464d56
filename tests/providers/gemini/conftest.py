"""A simulated Gemini and providers that use it, for the whole session: a client takes long to build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from generation_worker.domain.errors import JobError
from generation_worker.ports import Generated
from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.helpers import SHORT, Control, make_provider
from tests.providers.helpers import a_request
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.replies import Reply, json_reply
from tests.simulators.server import SimulatorServer


@pytest.fixture(scope="session")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer([GeminiSimulator()]) as running:
        yield running


@pytest.fixture
def simulator(server: SimulatorServer) -> GeminiSimulator:
    """As if it were new: nothing asked, nothing scripted, no limit."""
    simulator = GeminiSimulator()
    server.simulators = [simulator]
    return simulator


@pytest.fixture(scope="session")
def _patient(server: SimulatorServer) -> Iterator[GeminiProvider]:
    provider = make_provider(server.url)
    provider.warm_up()
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def _impatient(server: SimulatorServer) -> Iterator[GeminiProvider]:
    provider = make_provider(server.url, timeout=SHORT)
    provider.warm_up()
    yield provider
    provider.close()


@pytest.fixture
def provider(_patient: GeminiProvider, simulator: GeminiSimulator) -> GeminiProvider:
    return _patient


@pytest.fixture
def impatient(_impatient: GeminiProvider, simulator: GeminiSimulator) -> GeminiProvider:
    """A provider that waits for ``SHORT`` seconds."""
    return _impatient


Answered = Callable[..., Generated]
Failed = Callable[..., JobError]


@pytest.fixture
def answered(provider: GeminiProvider, simulator: GeminiSimulator) -> Answered:
    """What the provider makes of a body with status 200. One call is one HTTP request."""

    def call(body: Any, **request: Any) -> Generated:
        simulator.script(json_reply(body))
        generated = provider.generate(a_request(**request), Control())
        assert len(simulator.requests) == 1
        return generated

    return call


@pytest.fixture
def failed(provider: GeminiProvider, simulator: GeminiSimulator) -> Failed:
    """The error that the provider makes of a reply. One call is one HTTP request, however it ends."""

    def call(reply: Reply, using: GeminiProvider = provider) -> JobError:
        simulator.script(reply)
        with pytest.raises(JobError) as caught:
            using.generate(a_request(), Control())
        assert len(simulator.requests) == 1
        return caught.value

    return call
