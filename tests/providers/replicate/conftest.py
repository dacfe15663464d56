"""A simulated Replicate and providers that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from generation_worker.domain.errors import JobError
from generation_worker.providers.replicate import ReplicateProvider
from tests.providers.helpers import a_request
from tests.providers.replicate.helpers import SHORT, Control, make_provider
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.server import SimulatorServer


@pytest.fixture(scope="session")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer([ReplicateSimulator()]) as running:
        yield running


@pytest.fixture
def simulator(server: SimulatorServer) -> ReplicateSimulator:
    """As if it were new."""
    simulator = ReplicateSimulator()
    server.simulators = [simulator]
    return simulator


@pytest.fixture
def provider(server: SimulatorServer, simulator: ReplicateSimulator) -> Iterator[ReplicateProvider]:
    provider = make_provider(server.url)
    yield provider
    provider.close()


@pytest.fixture
def impatient(server: SimulatorServer, simulator: ReplicateSimulator) -> Iterator[ReplicateProvider]:
    """Waits ``SHORT`` seconds for a request."""
    provider = make_provider(server.url, timeout=SHORT)
    yield provider
    provider.close()


Failed = Callable[..., JobError]


@pytest.fixture
def failed(provider: ReplicateProvider) -> Failed:
    """The error that a request ends with."""

    def call(prompt: str = "a fox", control: Control | None = None, **request: object) -> JobError:
        with pytest.raises(JobError) as caught:
            provider.generate(a_request(prompt, **request), control or Control())
        return caught.value

    return call
