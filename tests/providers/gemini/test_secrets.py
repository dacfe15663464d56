"""The key is sent to Google and appears nowhere else."""

from __future__ import annotations

import logging
import traceback

import pytest

from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.helpers import KEY, Control, make_provider, raised
from tests.providers.helpers import a_request
from tests.simulators import replies
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import error
from tests.simulators.replies import Reply, json_reply

ECHO = f"Your request with x-goog-api-key: {KEY} was refused."
BAD: dict[str, Reply] = {
    "told as a message": json_reply(error(400, "INVALID_ARGUMENT", ECHO), 400),
    "told as a page": replies.raw_reply(ECHO.encode(), 500),
    "told as an answer": replies.raw_reply(ECHO.encode()),
    "told as a limit": json_reply(error(429, KEY, ECHO, [{"violations": [{"quotaId": KEY}], "retryDelay": KEY}]), 429),
    "broken": replies.hang_up,
    "garbage": replies.garbage,
    "cut": replies.truncated(b"x" * 1000),
}


def everything_about(failure: BaseException) -> str:
    """Its words, and those of whatever it came from."""
    chain: list[BaseException] = []
    following: list[BaseException | None] = [failure]
    while following:
        if (one := following.pop()) is not None and one not in chain:
            chain.append(one)
            following += [one.__cause__, one.__context__]
    return "\n".join([*traceback.format_exception(failure), *(f"{one} {one!r} {vars(one)}" for one in chain)])


@pytest.mark.parametrize("way", BAD)
def test_no_error_and_no_log_line_tells_it(
    provider: GeminiProvider, simulator: GeminiSimulator, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.script(BAD[way])
    with caplog.at_level(logging.DEBUG):
        failure = raised(lambda: provider.generate(a_request(), Control()))
    assert len(simulator.requests) == 1
    assert KEY not in everything_about(failure)
    assert KEY not in caplog.text


def test_a_good_call_does_not_tell_it(
    provider: GeminiProvider, simulator: GeminiSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        generated = provider.generate(a_request(), Control())
    assert simulator.requests[0].headers["x-goog-api-key"] == KEY
    assert KEY not in f"{generated} {generated.usage}"
    assert KEY not in caplog.text


def test_neither_label_nor_repr_tells_it() -> None:
    provider = make_provider("http://127.0.0.1:9")
    assert KEY not in repr(provider) + str(provider) + provider.key_label
    assert provider.key_label in repr(provider)
