"""The life of a prediction: created once, remembered, polled, downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from generation_worker.domain.errors import (
    AttemptTimedOut,
    CallLost,
    CancelRequested,
    ContentBlocked,
    JobError,
    LeaseLost,
    NoImage,
    OutputRejected,
    ProviderRefused,
    ProviderUnavailable,
    ShuttingDown,
)
from generation_worker.ports import Provider
from generation_worker.providers import replicate, replicate_http
from generation_worker.providers.replicate import ReplicateProvider
from tests.providers.helpers import a_request
from tests.providers.replicate.conftest import Failed
from tests.providers.replicate.helpers import Control, a_picture, fox, make_provider
from tests.simulators import replies
from tests.simulators.pictures import picture
from tests.simulators.replicate import TOKEN, ReplicateSimulator
from tests.simulators.replicate_bodies import MODEL, failed as failed_body, prediction, problem, succeeded, throttled
from tests.simulators.replies import body_of, html_reply, json_reply, raw_reply
from tests.simulators.server import SimulatorServer


def asked_for(simulator: ReplicateSimulator) -> dict[str, Any]:
    [creation] = simulator.asked("create")
    return json.loads(creation.body)


def test_a_picture_is_made_by_one_prediction(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    control = Control()
    generated = provider.generate(a_request(), control)
    assert fox(generated)
    assert (generated.model, generated.usage) == (MODEL, {"predict_time": 0.0})
    assert control.remembered == [generated.provider_ref] == list(simulator.made)
    assert simulator.creations() == {"a fox": 1}


def test_it_is_asked_in_replicates_words(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    provider.generate(a_request(aspect_ratio="3:2", image_size="2K", images=(a_picture(),)), Control(seconds=45.9))
    [creation] = simulator.asked("create")
    assert creation.path == f"/v1/models/{MODEL}/predictions"
    assert creation.headers["authorization"] == f"Bearer {TOKEN}"
    assert creation.headers["cancel-after"] == "45s"
    assert "prefer" not in creation.headers
    asked = asked_for(simulator)["input"]
    assert asked.pop("image_input")[0].startswith("data:image/png;base64,")
    assert asked == {"prompt": "a fox", "aspect_ratio": "3:2", "resolution": "2K", "output_format": "png"}


def test_what_is_not_asked_for_is_left_to_the_model(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    provider.generate(a_request(image_size="1K"), Control())
    assert asked_for(simulator)["input"] == {"prompt": "a fox", "output_format": "png"}


@pytest.mark.parametrize(("seconds", "told"), [(1.5, "5s"), (7200, "1800s")])
def test_a_prediction_is_told_when_nobody_waits_any_more(
    provider: ReplicateProvider, simulator: ReplicateSimulator, seconds: float, told: str
) -> None:
    provider.generate(a_request(), Control(seconds))
    assert simulator.asked("create")[0].headers["cancel-after"] == told


def test_a_version_can_be_named(server: SimulatorServer, simulator: ReplicateSimulator) -> None:
    provider = make_provider(server.url, model="ada/foxes:0a1b")
    provider.generate(a_request(), Control())
    provider.close()
    assert simulator.asked("create")[0].path == "/v1/predictions"
    assert asked_for(simulator)["version"] == "0a1b"


def test_large_inputs_are_uploaded_first(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    provider.generate(a_request(images=(a_picture(), a_picture(size=300_000))), Control())
    [upload] = simulator.asked("upload")
    assert b'name="content"; filename="input.png"' in upload.body
    assert len(upload.body) > 300_000
    small, large = asked_for(simulator)["input"]["image_input"]
    assert small.startswith("data:")
    assert large.startswith("https://api.replicate.com/v1/files/")


@pytest.mark.parametrize("reply", [html_reply(502), replies.hang_up, json_reply({}, 201)], ids=["5xx", "drop", "odd"])
def test_an_upload_that_fails_costs_nothing(
    failed: Failed, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("upload", reply)
    error = failed(images=(a_picture(size=300_000),))
    assert type(error) is ProviderUnavailable
    assert not error.spent
    assert simulator.asked("create") == []


@pytest.mark.parametrize("word", ["picture", "list", "data"])
def test_a_picture_comes_as_an_address_a_list_or_itself(
    provider: ReplicateProvider, simulator: ReplicateSimulator, word: str
) -> None:
    prompt = f"a fox sim:{word}"
    assert provider.generate(a_request(prompt), Control()).data == picture(prompt)
    assert len(simulator.asked("download")) == (word != "data")


def test_pauses_grow(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("look", *[json_reply(prediction(status="processing"))] * 15)
    control = Control()
    provider.generate(a_request(), control)
    assert len(control.paused) == 16
    assert control.paused[:3] == [0.5, 0.625, 0.78125]
    assert control.paused[-1] == 5.0


@pytest.mark.parametrize("status", ["starting", "processing", "queued", "thinking_of_something"])
def test_what_has_not_ended_is_awaited(provider: ReplicateProvider, simulator: ReplicateSimulator, status: str) -> None:
    simulator.script("look", *[json_reply(prediction(status=status))] * 3)
    assert fox(provider.generate(a_request(), Control()))
    assert len(simulator.asked("look")) == 4


@pytest.mark.parametrize(
    ("word", "kind", "spent"),
    [
        ("sensitive", ContentBlocked, True),
        ("interrupted", ProviderUnavailable, True),
        ("empty", NoImage, True),
        ("canceled", ProviderUnavailable, True),
        ("aborted", ProviderUnavailable, False),
        ("removed", CallLost, True),
        ("gone", CallLost, True),
    ],
)
def test_ends_without_a_picture(failed: Failed, word: str, kind: type[JobError], spent: bool) -> None:
    error = failed(f"a fox sim:{word}")
    assert type(error) is kind
    assert error.spent is spent


@pytest.mark.parametrize("said", [None, "", 7, {"a": 1}, "CUDA out of memory", "x" * 5000])
def test_a_failure_is_told_in_bounded_words(failed: Failed, simulator: ReplicateSimulator, said: Any) -> None:
    simulator.script("look", json_reply(failed_body(said)))
    error = failed()
    assert type(error) is ProviderUnavailable
    assert len(error.message) < 400


@pytest.mark.parametrize("output", [[], {}, 7, [None, 3], ""])
def test_an_output_that_names_no_picture(failed: Failed, simulator: ReplicateSimulator, output: Any) -> None:
    simulator.script("look", json_reply(succeeded(output)))
    assert type(failed()) is NoImage


@pytest.mark.parametrize(
    "output", ["data:image/png;base64,%%%", "data:", "ftp://files.example/1.png", "http://[", "file:///etc/passwd"]
)
def test_an_output_that_cannot_be_fetched(failed: Failed, simulator: ReplicateSimulator, output: str) -> None:
    simulator.script("look", json_reply(succeeded(output)))
    error = failed()
    assert type(error) is OutputRejected
    assert error.spent


def test_a_picture_may_be_written_into_its_address(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("look", json_reply(succeeded("data:image/svg+xml,%3Csvg%3E")))
    assert provider.generate(a_request(), Control()).data == b"<svg>"


# taken up again


def test_an_earlier_prediction_is_taken_up(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    first = provider.generate(a_request(), Control())
    control = Control()
    again = provider.generate(a_request(resume=first.provider_ref), control)
    assert again == first
    assert (control.remembered, control.paused) == ([], [])
    assert simulator.creations() == {"a fox": 1}


@pytest.mark.parametrize(
    ("reply", "spent"),
    [
        (json_reply({"detail": "Not found."}, 404), True),
        (json_reply(prediction(status="succeeded", data_removed=True)), True),
        (json_reply(prediction(status="canceled")), True),
        (json_reply(prediction(status="aborted")), False),
    ],
    ids=["unknown", "removed", "canceled", "aborted"],
)
def test_an_earlier_prediction_that_has_nothing_for_us_is_lost(
    failed: Failed, simulator: ReplicateSimulator, reply: replies.Reply, spent: bool
) -> None:
    simulator.script("look", reply)
    error = failed(resume="p-1")
    assert type(error) is CallLost
    assert error.spent is spent
    assert simulator.asked("create") == []


def test_an_earlier_prediction_that_failed_has_failed(failed: Failed, simulator: ReplicateSimulator) -> None:
    simulator.script("look", json_reply(failed_body("CUDA out of memory")))
    assert type(failed(resume="p-1")) is ProviderUnavailable


# a prediction is not given up because a request fails

TROUBLE = {
    "500": json_reply({"detail": "Internal"}, 500),
    "html": html_reply(502),
    "html with 200": html_reply(200),
    "drop": replies.hang_up,
    "reset": replies.reset,
    "garbage": replies.garbage,
    "half": replies.truncated(body_of(prediction())),
    "no id": json_reply({"status": "succeeded"}),
    "list": json_reply([1, 2]),
    "400": json_reply(problem(400, "Bad request", "what?"), 400),
    "redirect": raw_reply(b"", 302, {"Location": "/elsewhere"}),
    "throttled": json_reply(throttled(1), 429),
}


@pytest.mark.parametrize("reply", TROUBLE.values(), ids=TROUBLE)
def test_a_look_that_fails_is_repeated(
    provider: ReplicateProvider, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("look", reply, reply)
    assert fox(provider.generate(a_request(), Control()))
    assert simulator.creations() == {"a fox": 1}
    assert len(simulator.asked("look")) == 3


@pytest.mark.parametrize(
    "reply",
    [replies.hang, replies.hang_after_headers, replies.drip(body_of(prediction()), 0.05), replies.drip_headers(0.05)],
    ids=["hang", "hang after headers", "drip", "drip of headers"],
)
@pytest.mark.parametrize("kind", ["look", "download"])
def test_a_request_has_a_time_for_all_of_it(
    impatient: ReplicateProvider,
    simulator: ReplicateSimulator,
    reply: replies.Reply,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicate_http, "DOWNLOAD_TIMEOUT", 0.1)
    simulator.script(kind, reply)
    assert fox(impatient.generate(a_request(), Control()))
    assert len(simulator.asked(kind)) == 2


@pytest.mark.parametrize(
    "reply",
    [html_reply(502), replies.hang_up, raw_reply(b""), replies.truncated(b"x" * 100), raw_reply(b"", 404)],
    ids=["5xx", "drop", "empty", "half", "late"],
)
def test_a_download_that_fails_is_repeated(
    provider: ReplicateProvider, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("download", reply, reply)
    assert fox(provider.generate(a_request(), Control()))
    assert simulator.creations() == {"a fox": 1}


@pytest.mark.parametrize("kind", ["look", "download"])
def test_a_429_is_heard_within_reason(provider: ReplicateProvider, simulator: ReplicateSimulator, kind: str) -> None:
    simulator.script(kind, json_reply(throttled(17), 429), json_reply({}, 429, {"Retry-After": "100000"}))
    control = Control()
    provider.generate(a_request(), control)
    assert [seconds for seconds in control.paused if seconds > 5] == [17.0, replicate.LONGEST_WAIT]


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_look_is_for_the_operator(failed: Failed, simulator: ReplicateSimulator, status: int) -> None:
    simulator.script("look", json_reply(problem(status, "No", "no"), status))
    assert type(failed()) is ProviderRefused


# the picture's host


def test_the_token_stays_with_replicate(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    provider.generate(a_request(), Control())
    [download] = simulator.asked("download")
    assert "authorization" not in download.headers
    assert TOKEN not in str(download)


def test_the_picture_may_lie_elsewhere(
    provider: ReplicateProvider, simulator: ReplicateSimulator, server: SimulatorServer
) -> None:
    made = provider.generate(a_request(), Control()).provider_ref
    elsewhere = server.url.replace("127.0.0.1", "localhost") + f"/delivery/{made}.png"
    redirect = raw_reply(b"", 302, {"Location": f"/delivery/{made}.png"})
    simulator.script("look", json_reply(succeeded(elsewhere)))
    simulator.script("download", redirect)
    assert fox(provider.generate(a_request(resume=made), Control()))
    assert simulator.asked("download")[-1].headers["host"].startswith("localhost:")


def test_a_picture_that_is_always_elsewhere(failed: Failed, simulator: ReplicateSimulator) -> None:
    simulator.script("download", *[raw_reply(b"", 302, {"Location": "/delivery/1.png"})] * 10)
    assert type(failed()) is OutputRejected
    assert len(simulator.asked("download")) == 4


def test_a_picture_that_does_not_end(
    failed: Failed, simulator: ReplicateSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate_http, "LARGEST_FILE", 3_000_000)
    simulator.script("download", replies.endless)
    error = failed()
    assert type(error) is OutputRejected
    assert error.spent


# the attempt's end


@pytest.mark.parametrize("reason", [CancelRequested, AttemptTimedOut])
def test_a_prediction_that_nobody_waits_for_is_cancelled(
    provider: ReplicateProvider, simulator: ReplicateSimulator, reason: type[Exception]
) -> None:
    with pytest.raises(reason):
        provider.generate(a_request("a fox sim:never"), Control(stop_at=2, reason=reason))
    [made] = simulator.made.values()
    assert made.cancelled


@pytest.mark.parametrize("reason", [LeaseLost, ShuttingDown])
def test_a_prediction_that_the_next_attempt_takes_up_goes_on(
    provider: ReplicateProvider, simulator: ReplicateSimulator, reason: type[Exception]
) -> None:
    with pytest.raises(reason):
        provider.generate(a_request("a fox sim:never"), Control(stop_at=2, reason=reason))
    assert simulator.asked("cancel") == []


@pytest.mark.parametrize("reply", [html_reply(502), replies.hang_up, replies.hang], ids=["5xx", "drop", "hang"])
def test_a_cancel_that_fails_does_not_hold_up_the_end(
    impatient: ReplicateProvider, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    simulator.script("cancel", reply)
    with pytest.raises(CancelRequested):
        impatient.generate(a_request("a fox sim:never"), Control(stop_at=2, reason=CancelRequested))


def test_a_look_that_hangs_ends_with_the_attempt(provider: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("look", replies.hang)
    with pytest.raises(AttemptTimedOut):
        provider.generate(a_request(), Control(seconds=0.5))


def test_it_is_a_provider_that_keeps_its_token_to_itself(provider: ReplicateProvider) -> None:
    offered: Provider = provider
    assert offered.name == "replicate"
    assert offered.key_label.startswith("replicate-")
    assert TOKEN not in repr(provider) + provider.key_label


@pytest.mark.parametrize("token", ["", " t", "t\n", "tökên", "t\x00"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        make_provider("http://127.0.0.1:1", token=token)


# with a webhook


@pytest.fixture
def told(server: SimulatorServer, simulator: ReplicateSimulator) -> Iterator[ReplicateProvider]:
    """A provider that Replicate is to tell; nobody is there to hear it, which is no matter."""
    provider = make_provider(server.url, webhook="http://127.0.0.1:9/hook", longest_pause=20.0)
    yield provider
    provider.close()


@pytest.mark.parametrize("model", [MODEL, "ada/foxes:0a1b"])
def test_replicate_is_asked_to_tell_of_the_end_and_of_nothing_else(
    server: SimulatorServer, simulator: ReplicateSimulator, model: str
) -> None:
    provider = make_provider(server.url, webhook="http://127.0.0.1:9/hook", model=model)
    assert fox(provider.generate(a_request("a fox"), Control()))
    provider.close()
    asked = asked_for(simulator)
    assert (asked["webhook"], asked["webhook_events_filter"]) == ("http://127.0.0.1:9/hook", ["completed"])


def test_without_a_webhook_replicate_is_asked_to_tell_nobody(
    provider: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    provider.generate(a_request(), Control())
    assert asked_for(simulator).keys() == {"input"}


def test_who_is_told_looks_less_often(told: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("look", *[json_reply(prediction(status="processing"))] * 10)
    control = Control()
    assert fox(told.generate(a_request(), control))
    assert control.paused[:3] == [5.0, 6.25, 7.8125]
    assert max(control.paused) == control.paused[-1] == 20.0


def test_every_pause_can_be_ended_by_a_notice_about_the_prediction(
    told: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    simulator.script("look", *[json_reply(prediction(status="processing"))] * 2)
    control = Control()
    made = told.generate(a_request(), control).provider_ref
    assert control.awake_for == [made] * 3


def test_an_earlier_prediction_is_looked_at_before_anything_is_awaited(
    told: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    simulator.script("look", json_reply(prediction("p-1", "processing")), json_reply(succeeded("data:,fox", id="p-1")))
    control = Control()
    assert told.generate(a_request(resume="p-1"), control).data == b"fox"
    assert control.awake_for == ["p-1"]


@pytest.mark.parametrize("reply", [TROUBLE["500"], TROUBLE["drop"], TROUBLE["no id"]], ids=["500", "drop", "no id"])
def test_a_look_that_fails_is_made_up_for_soon(
    told: ReplicateProvider, simulator: ReplicateSimulator, reply: replies.Reply
) -> None:
    """The notice that it was to answer does not come again."""
    simulator.script("look", reply, reply, json_reply(prediction(status="processing")))
    control = Control()
    assert fox(told.generate(a_request(), control))
    assert control.paused == [5.0, 0.5, 0.625, 6.25]


def test_who_is_asked_to_wait_is_not_hurried_by_a_notice(
    told: ReplicateProvider, simulator: ReplicateSimulator
) -> None:
    simulator.script("look", json_reply(throttled(17), 429))
    control = Control()
    made = told.generate(a_request(), control).provider_ref
    assert list(zip(control.paused, control.awake_for, strict=True)) == [(5.0, made), (17.0, None)]


def test_a_longest_pause_can_be_named(server: SimulatorServer, simulator: ReplicateSimulator) -> None:
    simulator.script("look", *[json_reply(prediction(status="processing"))] * 5)
    provider, control = make_provider(server.url, longest_pause=0.6), Control()
    assert fox(provider.generate(a_request(), control))
    provider.close()
    assert control.paused == [0.5, *[0.6] * 5]


def test_a_download_is_not_put_off_as_a_look_is(told: ReplicateProvider, simulator: ReplicateSimulator) -> None:
    simulator.script("download", html_reply(502))
    control = Control()
    assert fox(told.generate(a_request(), control))
    assert control.paused == [5.0, 0.5]
    assert control.awake_for[-1] is None
