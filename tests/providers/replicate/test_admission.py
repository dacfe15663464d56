"""Of a prediction's requests only the creation is paid, so only it asks for a permit."""

from __future__ import annotations

import pytest

from generation_worker.domain.errors import GateClosed
from generation_worker.providers.replicate import ReplicateProvider
from tests.providers.helpers import a_request
from tests.providers.replicate.helpers import Control
from tests.simulators.replicate import ReplicateSimulator


def test_the_creation_alone_is_admitted(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    control = Control()
    provider.generate(a_request("sim:slow=0.2"), control)
    assert control.admitted == 1


def test_a_creation_that_is_not_admitted_does_not_leave(
    provider: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    control = Control()
    control.gate = GateClosed("closed meanwhile", wait=7.0)
    with pytest.raises(GateClosed, match="closed meanwhile"):
        provider.generate(a_request(), control)
    assert simulator.creations() == {}
