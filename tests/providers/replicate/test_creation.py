"""The error of a refused or lost creation of a prediction, and whether it may have been paid."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.errors import (
    CancelRequested,
    JobError,
    ProviderLimited,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.providers.http import HttpResponse
from generation_worker.providers.replicate import ReplicateProvider
from generation_worker.providers.replicate_http import Prediction, response_error
from tests.providers.helpers import a_request
from tests.providers.replicate.conftest import Failed
from tests.providers.replicate.helpers import Control, make_provider
from tests.simulators import replies
from tests.simulators.replicate import TOKEN, ReplicateSimulator
from tests.simulators.replicate_bodies import MODEL, problem, throttled
from tests.simulators.replies import body_of, json_reply, raw_reply

NOW = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind", "spent"),
    [
        (302, ProviderRefused, False),
        (400, ProviderRejected, False),
        (401, ProviderRefused, False),
        (402, ProviderRefused, False),
        (403, ProviderRefused, False),
        (404, ProviderRejected, False),
        (408, ProviderUnavailable, True),
        (413, ProviderRejected, False),
        (422, ProviderRejected, False),
        (500, ProviderUnavailable, True),
        (502, ProviderUnavailable, True),
        (504, ProviderUnavailable, True),
    ],
)
@pytest.mark.parametrize("body", [body_of(problem(0, "A title", "and a detail")), replies.HTML], ids=["json", "html"])
def test_a_status_and_its_outcome(
    failed: Failed, simulator: ReplicateSimulator, status: int, kind: type[JobError], spent: bool, body: bytes
) -> None:
    simulator.script("create", raw_reply(body, status))
    error = failed()
    assert type(error) is kind
    assert error.spent is spent
    assert str(status) in error.message
    assert ("A title: and a detail" in error.message) == body.startswith(b"{")
    assert "<" not in error.message


@pytest.mark.parametrize(
    "told",
    [
        [{"field": "output_format", "type": "unknown"}],
        {"output_format": "unknown"},
        ["output_format"],
        [{"loc": "output_format"}],
    ],
)
def test_the_fields_that_a_model_refuses_are_named(failed: Failed, simulator: ReplicateSimulator, told: Any) -> None:
    simulator.script("create", json_reply(problem(422, "Input validation failed", "", invalid_fields=told), 422))
    error = failed()
    assert type(error) is ProviderRejected
    assert error.message.endswith(" Invalid: output_format.")


def test_a_model_that_is_not_there_is_named(failed: Failed, simulator: ReplicateSimulator) -> None:
    simulator.script("create", json_reply(problem(404, "Not found", "no"), 404))
    assert repr(MODEL) in failed().message


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (throttled(30), {}, 30.0),
        (throttled(30), {"Retry-After": "7"}, 7.0),
        ({**throttled(30), "retry_after": 9}, {}, 9.0),
        ({"detail": "Slow down."}, {}, None),
        ({"retry_after": "soon"}, {}, None),
        (throttled(10**8), {}, 86_400.0),
        ([], {}, None),
    ],
)
def test_a_limit_and_its_wait(
    failed: Failed, simulator: ReplicateSimulator, body: Any, headers: dict[str, str], wait: float | None
) -> None:
    simulator.script("create", json_reply(body, 429, headers))
    error = failed()
    assert isinstance(error, ProviderLimited)
    assert (error.wait, error.spent) == (wait, False)


def test_the_simulators_own_limit(failed: Failed, simulator: ReplicateSimulator) -> None:
    simulator.limit = 0
    assert isinstance(failed(), ProviderLimited)


@pytest.mark.parametrize(
    "reply",
    [replies.hang_up, replies.reset, replies.garbage, replies.truncated(body_of({"id": "p"}), 500)],
    ids=["drop", "reset", "garbage", "half"],
)
def test_an_answer_that_breaks_off_may_have_been_paid(
    failed: Failed, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("create", reply)
    error = failed()
    assert type(error) is ProviderUnavailable
    assert error.spent
    assert len(simulator.asked("create")) == 1


@pytest.mark.parametrize(
    "body", [{}, [], None, "p", {"id": "p"}, {"id": 7, "status": "starting"}, {"id": "../p", "status": "starting"}]
)
def test_an_answer_without_a_prediction_may_have_been_paid(
    failed: Failed, simulator: ReplicateSimulator, body: Any
) -> None:
    simulator.script("create", json_reply(body, 201))
    error = failed()
    assert type(error) is ProviderUnavailable
    assert error.spent


@pytest.mark.parametrize("reply", [replies.hang, replies.drip_headers(0.02)], ids=["hang", "drip"])
def test_an_answer_that_does_not_come_in_time_may_have_been_paid(
    impatient: ReplicateProvider, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("create", reply)
    with pytest.raises(ProviderTimedOut) as caught:
        impatient.generate(a_request(), Control())
    assert caught.value.spent


def test_no_connection_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProviderUnavailable) as caught:
        make_provider(f"http://127.0.0.1:{port}").generate(a_request(), Control())
    assert not caught.value.spent


def test_a_cancel_is_heard_while_replicate_thinks(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("create", replies.hang)
    control = Control(stop_at=1, reason=CancelRequested)
    control.paused.append(0)
    with pytest.raises(CancelRequested):
        provider.generate(a_request(), control)


@pytest.mark.parametrize("kind", ["create", "look"])
def test_a_token_that_an_answer_repeats_is_taken_out(failed: Failed, simulator: ReplicateSimulator, kind: str) -> None:
    body = problem(403, "Forbidden", f"the token {TOKEN} is revoked", invalid_fields=[TOKEN])
    simulator.script(kind, json_reply(body, 403))
    error = failed()
    assert "[secret]" in error.message
    assert TOKEN not in error.message + repr(error)
    assert error.__cause__ is error.__context__ is None or TOKEN not in repr(error.__context__)


WORDS = "id status output error metrics detail title invalid_fields retry_after data_removed"
KEYS = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("succeeded"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)


@given(st.integers(100, 999), JSON, st.dictionaries(st.just("retry-after"), st.text()))
def test_any_answer_is_an_error_of_ours(status: int, body: Any, headers: dict[str, str]) -> None:
    assert response_error(HttpResponse(status, headers, json.dumps(body).encode()), MODEL, NOW).message


@given(st.dictionaries(KEYS, JSON), st.booleans())
def test_any_prediction_is_a_picture_or_an_error_of_ours(body: dict[str, Any], resumed: bool) -> None:
    read = Prediction.read({"id": "p", "status": "succeeded", **body})
    if read is None or read.running:
        return
    with suppress(JobError):
        assert read.picture(resumed=resumed)
