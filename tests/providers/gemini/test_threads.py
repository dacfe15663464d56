"""One client shared by many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from generation_worker.ports import Generated
from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.helpers import Control, make_provider
from tests.providers.helpers import a_request
from tests.simulators import replies
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import image_answer
from tests.simulators.pictures import picture
from tests.simulators.replies import json_reply
from tests.simulators.server import SimulatorServer

THREADS = 150


def test_150_threads_share_one_client_and_none_waits_for_another(
    server: SimulatorServer, simulator: GeminiSimulator
) -> None:
    provider = make_provider(server.url, threads=THREADS, timeout=60.0)
    provider.warm_up()
    at_once = replies.together(THREADS, json_reply(image_answer(picture("together"))), patience=60.0)
    simulator.script(*[at_once] * THREADS)

    def call(number: int) -> Generated:
        return provider.generate(a_request(f"number {number}"), Control())

    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(call, range(THREADS)))
        alone = list(pool.map(call, range(THREADS)))
    provider.close()
    assert {generated.data for generated in together} == {picture("together")}
    assert [generated.data for generated in alone] == [picture(f"number {number}") for number in range(THREADS)]
    assert len(simulator.requests) == 2 * THREADS


def test_each_call_has_its_own_end(impatient: GeminiProvider, simulator: GeminiSimulator) -> None:
    """What one thread gives up on does not disturb its neighbors on the same client."""
    simulator.script(replies.hang)
    with ThreadPoolExecutor(4) as pool:
        stuck = pool.submit(impatient.generate, a_request(), Control())
        good = [pool.submit(impatient.generate, a_request(f"{n}"), Control()) for n in range(20)]
        assert [type(future.exception()).__name__ for future in (stuck, *good)].count("ProviderTimedOut") == 1
        assert len([future for future in (stuck, *good) if future.exception() is None]) == 20


def test_one_after_the_other_uses_one_connection(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    for _ in range(5):
        provider.generate(a_request(), Control())
    assert len({request.client for request in simulator.requests}) == 1


def test_warm_up_twice_is_once_and_a_closed_provider_opens_again(
    server: SimulatorServer, simulator: GeminiSimulator
) -> None:
    provider = make_provider(server.url)
    provider.close()
    provider.warm_up()
    provider.warm_up()
    assert simulator.requests == []
    provider.close()
    assert provider.generate(a_request(), Control()).data == picture("a fox")
    provider.close()
