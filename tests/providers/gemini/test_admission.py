"""The adapter asks for its permit right before the paid request is sent."""

from __future__ import annotations

import pytest

from generation_worker.domain.errors import GateClosed
from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.helpers import Control, make_provider
from tests.providers.helpers import a_request
from tests.simulators.gemini import GeminiSimulator


def test_a_call_is_admitted_once(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    control = Control()
    for number in (1, 2):
        provider.generate(a_request(), control)
        assert (control.admitted, len(simulator.requests)) == (number, number)


def test_a_request_that_is_not_admitted_does_not_leave(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    control = Control()
    control.gate = GateClosed("closed meanwhile", wait=7.0)
    with pytest.raises(GateClosed, match="closed meanwhile") as caught:
        provider.generate(a_request(), control)
    assert (caught.value.wait, caught.value.spent, simulator.requests) == (7.0, False, [])
    control.gate = None
    provider.generate(a_request(), control)


def test_nothing_is_admitted_before_there_is_a_connection() -> None:
    control = Control()
    with pytest.raises(Exception, match="did not reach Gemini"):
        make_provider("http://127.0.0.1:9").generate(a_request(), control)
    assert control.admitted == 0
