"""Connections that hang, drip or break, and whether such a call counts as paid."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from generation_worker.domain.errors import (
    AttemptStopped,
    AttemptTimedOut,
    CancelRequested,
    JobError,
    LeaseLost,
    OutputRejected,
    ProviderTimedOut,
    ProviderUnavailable,
    ShuttingDown,
)
from generation_worker.ports import Picture
from generation_worker.providers import gemini as adapter
from generation_worker.providers.gemini import GeminiProvider
from tests.providers.gemini.conftest import Failed
from tests.providers.gemini.helpers import SHORT, Control, Timed, make_provider, raised
from tests.providers.helpers import a_request
from tests.simulators import replies
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import image_answer
from tests.simulators.pictures import picture
from tests.simulators.replies import Reply, json_reply

BODY = json.dumps(image_answer(picture("a fox"))).encode()
LATE = 5.0
"""Seconds by which a busy machine may be late; without an end these calls would take half a minute, or for ever."""

SILENT: list[Reply] = [
    replies.hang,
    replies.hang_after_headers,
    replies.drip(BODY, 0.05),
    replies.drip_headers(0.05),
    replies.drip_chunk_sizes(0.05),
]
SILENT_IDS = ["hang", "hang after headers", "drip", "drip headers", "drip between chunks"]


@pytest.mark.parametrize("reply", SILENT, ids=SILENT_IDS)
def test_a_call_ends_at_its_timeout_even_if_bytes_come(failed: Failed, impatient: GeminiProvider, reply: Reply) -> None:
    with Timed() as took:
        error = failed(reply, using=impatient)
    assert type(error) is ProviderTimedOut
    assert error.message == f"The provider did not answer within {SHORT} s."
    assert error.spent
    assert SHORT <= took.seconds < SHORT + LATE


@pytest.mark.parametrize("reply", SILENT, ids=SILENT_IDS)
def test_a_call_ends_with_its_attempt(provider: GeminiProvider, simulator: GeminiSimulator, reply: Reply) -> None:
    simulator.script(reply)
    with Timed() as took:
        error = raised(lambda: provider.generate(a_request(), Control(seconds=SHORT)))
    assert type(error) in (AttemptTimedOut, ProviderTimedOut)
    assert took.seconds < SHORT + LATE


@pytest.mark.parametrize("reason", [CancelRequested, LeaseLost, ShuttingDown])
@pytest.mark.parametrize("reply", SILENT[:3], ids=SILENT_IDS[:3])
def test_a_stopped_attempt_stops_the_call(
    provider: GeminiProvider, simulator: GeminiSimulator, reply: Reply, reason: type[AttemptStopped]
) -> None:
    simulator.script(reply)
    control = Control()
    control.stop_in(0.1, reason)
    with Timed() as took:
        error = raised(lambda: provider.generate(a_request(), control))
    assert type(error) is reason
    assert took.seconds < 0.6 + LATE


def test_a_stopped_attempt_begins_no_call(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    control = Control()
    control.stop_in(0, CancelRequested)
    with pytest.raises(CancelRequested):
        provider.generate(a_request(), control)
    assert simulator.requests == []


@pytest.mark.parametrize("reply", [replies.reset, replies.truncated(BODY)], ids=["reset", "half"])
def test_a_stopped_attempt_does_not_become_a_failure(
    provider: GeminiProvider, simulator: GeminiSimulator, reply: Reply
) -> None:
    """The connection breaks after the cancel and before it is heard."""
    simulator.script(replies.later(0.2, reply))
    control = Control()
    control.stop_in(0.1, CancelRequested)
    assert type(raised(lambda: provider.generate(a_request(), control))) is CancelRequested


def test_an_answer_that_takes_its_time_is_waited_for(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    simulator.script(replies.later(0.7, json_reply(image_answer(picture("late")))))
    assert provider.generate(a_request(), Control()).data == picture("late")


@pytest.mark.parametrize(
    "reply",
    [
        replies.hang_up,
        replies.reset,
        replies.garbage,
        replies.truncated(BODY),
        replies.truncated(BODY, announced=10 * len(BODY)),
        replies.truncated_chunks(BODY),
        replies.raw_reply(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}),
    ],
    ids=["hang up", "reset", "garbage", "half", "wrong length", "half of the chunks", "compressed unasked"],
)
def test_what_breaks_after_the_request_may_have_been_paid(failed: Failed, reply: Reply) -> None:
    error = failed(reply)
    assert type(error) is ProviderUnavailable
    assert error.message.startswith("The connection to Gemini ended in the middle of the response")
    assert error.spent


def test_a_connection_that_broke_is_not_used_again(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    for reply in (replies.truncated(BODY), replies.hang_up, replies.reset):
        simulator.script(reply)
        raised(lambda: provider.generate(a_request(), Control()))
        assert provider.generate(a_request(), Control()).data == picture("a fox")


@contextmanager
def peak_memory(*, below: int) -> Generator[None]:
    """Fail if Python holds more than so many new bytes at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < below
    finally:
        tracemalloc.stop()


def test_an_endless_answer_is_cut_and_memory_stays_bounded(failed: Failed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LARGEST_RESPONSE", 8_000_000)
    with peak_memory(below=40_000_000):
        error = failed(replies.endless)
    assert type(error) is OutputRejected
    assert error.message == "Gemini's response is larger than 8 MB."
    assert error.spent


def test_a_bomb_is_not_opened(failed: Failed) -> None:
    bomb = gzip.compress(bytes(100_000_000), 1)
    with peak_memory(below=40_000_000):
        error = failed(replies.raw_reply(bomb, headers={"Content-Encoding": "gzip"}))
    assert type(error) is ProviderUnavailable


def test_an_endless_error_is_judged_by_its_status(failed: Failed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LARGEST_RESPONSE", 1000)
    error = failed(replies.raw_reply(b"x" * 100_000, 503))
    assert type(error) is ProviderUnavailable
    assert not error.spent


@contextmanager
def listening(*, backlog: int = 8) -> Generator[socket.socket]:
    """A server that takes connections and does not read from them."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server


def failure_at(port: int, timeout: float = SHORT, request: Callable[[], object] = a_request) -> JobError:
    provider = make_provider(f"http://127.0.0.1:{port}", timeout=timeout)
    try:
        error = raised(lambda: provider.generate(request(), Control()))  # pyright: ignore[reportArgumentType]
    finally:
        provider.close()
    assert isinstance(error, JobError)
    return error


def test_no_server_is_not_paid() -> None:
    with listening() as server:
        port = server.getsockname()[1]
    error = failure_at(port)
    assert type(error) is ProviderUnavailable
    assert error.message == "The request did not reach Gemini (ConnectError)."
    assert not error.spent


def test_no_such_host_is_not_paid() -> None:
    provider = make_provider("http://nowhere.invalid")
    error = raised(lambda: provider.generate(a_request(), Control()))
    provider.close()
    assert type(error) is ProviderUnavailable
    assert not error.spent


def test_a_request_that_is_not_taken_whole_is_not_paid() -> None:
    huge = Picture(bytes(20_000_000), "image/png", 1, 1)
    with listening() as server:
        error = failure_at(server.getsockname()[1], timeout=0.8, request=lambda: a_request(images=(huge,)))
    assert type(error) is ProviderTimedOut
    assert error.message == "The provider did not take the request within 0.8 s."
    assert not error.spent


def test_a_server_that_takes_the_request_and_says_nothing_may_be_paid() -> None:
    with listening() as server:
        error = failure_at(server.getsockname()[1])
    assert type(error) is ProviderTimedOut
    assert error.spent
