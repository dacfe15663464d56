"""Every response with status 200, through the real SDK, and arbitrary JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from generation_worker.domain.errors import (
    ContentBlocked,
    JobError,
    NoImage,
    OutputRejected,
    ProviderRefused,
    ProviderUnavailable,
)
from generation_worker.providers.gemini_answers import BLOCKED, read_response
from tests.providers.gemini.conftest import Answered, Failed
from tests.simulators.gemini_bodies import MODEL, answer, blocked_prompt, candidate, image_part, text_part
from tests.simulators.pictures import picture
from tests.simulators.replies import html_reply, json_reply, raw_reply, without_length

FOX, DRAFT = picture("a fox"), picture("a draft")


def test_an_image_and_what_it_cost(answered: Answered) -> None:
    generated = answered(answer(candidate([image_part(FOX)])))
    assert generated.data == FOX
    assert (generated.model, generated.provider_ref) == (MODEL, "resp-123")
    assert generated.usage == {
        "prompt_tokens": 10,
        "candidates_tokens": 1120,
        "thoughts_tokens": 90,
        "image_tokens": 1120,
    }


@pytest.mark.parametrize(
    "body",
    [
        answer(candidate([text_part("Let me see.", thought=True), image_part(DRAFT, thought=True), image_part(FOX)])),
        answer(candidate([text_part("Here it is:"), image_part(FOX), image_part(DRAFT)])),
        answer(candidate([text_part("Nothing yet.")]), candidate([image_part(FOX)])),
        answer(candidate([image_part(FOX)], finish_reason=None)),
        answer(candidate([image_part(FOX)], finish_reason="MAX_TOKENS")),
        answer(candidate([{"inlineData": None}, {"fileData": {}}, image_part(FOX)])),
    ],
    ids=["after thoughts", "the first of two", "second candidate", "no reason", "another reason", "odd parts"],
)
def test_the_image_is_found(answered: Answered, body: Any) -> None:
    assert answered(body).data == FOX


def test_an_answer_that_names_nothing_was_made_by_the_model_that_was_asked(answered: Answered) -> None:
    generated = answered({"candidates": [candidate([image_part(FOX)])]})
    assert (generated.model, generated.provider_ref, generated.usage) == (MODEL, None, {})


@pytest.mark.parametrize("reason", [*BLOCKED, "OTHER", "A_REASON_OF_NEXT_YEAR"])
def test_a_blocked_prompt(failed: Failed, reason: str) -> None:
    error = failed(json_reply(blocked_prompt(reason)))
    assert type(error) is ContentBlocked
    assert reason in error.message
    assert not error.spent


FINISH_REASONS = sorted(set(BLOCKED) - {"JAILBREAK"})


@pytest.mark.parametrize("reason", FINISH_REASONS)
@pytest.mark.parametrize("parts", [None, [image_part(FOX)]], ids=["nothing", "an image all the same"])
def test_a_blocked_image(failed: Failed, reason: str, parts: Any) -> None:
    error = failed(json_reply(answer(candidate(parts, reason))))
    assert type(error) is ContentBlocked
    assert error.message == f"Gemini blocked the image: {BLOCKED[reason]} ({reason})."
    assert error.spent


def test_an_account_that_google_has_limited(failed: Failed) -> None:
    error = failed(json_reply(answer(candidate(None, "PUP_LIMITED_DISABLED"))))
    assert type(error) is ProviderRefused
    assert not error.spent


@pytest.mark.parametrize(
    "reason", ["STOP", "NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE", "LANGUAGE", "A_REASON_OF_NEXT_YEAR"]
)
def test_no_image(failed: Failed, reason: str) -> None:
    error = failed(json_reply(answer(candidate(None, reason))))
    assert type(error) is NoImage
    assert error.message == f"Gemini answered with nothing instead of an image ({reason})."
    assert error.spent


def test_the_models_words_are_counted_and_not_told(failed: Failed) -> None:
    parts = [text_part("What a day.", thought=True), text_part("I would "), text_part("rather not.")]
    error = failed(json_reply(answer(candidate(parts))))
    assert type(error) is NoImage
    assert error.message == "Gemini answered with 19 characters of text instead of an image (STOP)."


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_answer(failed: Failed, body: bytes) -> None:
    error = failed(raw_reply(body))
    assert type(error) is NoImage
    assert error.spent


@pytest.mark.parametrize("body", [{}, [], None, 7, "image", {"candidates": []}, {"candidates": [None, 1]}, answer()])
def test_an_answer_without_a_candidate(failed: Failed, body: Any) -> None:
    assert type(failed(json_reply(body))) is NoImage


@pytest.mark.parametrize("data", ["%%%", "a", "iVBORw0KGgo=======x", "ümläut"])
def test_an_image_that_is_not_base64(failed: Failed, data: str) -> None:
    error = failed(json_reply(answer(candidate([{"inlineData": {"mimeType": "image/png", "data": data}}]))))
    assert type(error) is OutputRejected
    assert error.spent


def test_both_alphabets_of_base64_are_read() -> None:
    for data in ("+/+/", "-_-_"):
        body = json.dumps(answer(candidate([{"inlineData": {"data": data}}])))
        assert read_response(body, MODEL).data == b"\xfb\xff\xbf"


@pytest.mark.parametrize(
    "reply",
    [
        html_reply(200),
        raw_reply(b'{"candidates": [{"content"'),
        raw_reply(b"\xff\xfe\x00"),
        raw_reply(b"[" * 100_000),
        raw_reply(b"9" * 5000),
        without_length(json.dumps(answer(candidate([image_part(FOX)]))).encode()[:200]),
    ],
    ids=["html", "half", "not text", "too deep", "too long a number", "cut without anybody noticing"],
)
def test_an_answer_that_is_not_json_may_have_been_charged(failed: Failed, reply: Any) -> None:
    error = failed(reply)
    assert type(error) is ProviderUnavailable
    assert error.spent


WORDS = "candidates content parts inlineData data text thought finishReason promptFeedback blockReason usageMetadata"
COUNTS = "modelVersion responseId promptTokenCount candidatesTokensDetails modality tokenCount"
KEYS = st.sampled_from(f"{WORDS} {COUNTS}".split(" "))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("IMAGE"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=60)
@given(JSON)
def test_any_json_is_an_image_or_an_error_of_ours(body: Any) -> None:
    with suppress(JobError):
        generated = read_response(json.dumps(body), MODEL)
        assert generated.data
        assert generated.model.isprintable()
        assert all(type(count) is int for count in generated.usage.values())


@settings(max_examples=60)
@given(st.text())
def test_any_text_is_an_error_of_ours(body: str) -> None:
    with pytest.raises(JobError):
        read_response(body, MODEL)
