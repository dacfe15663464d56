"""Every response with a status other than 200, through the real SDK, and arbitrary bodies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from generation_worker.domain.errors import (
    JobError,
    ProviderRefused,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.providers.gemini_answers import ErrorDetails, job_error
from tests.providers.gemini.conftest import Failed
from tests.providers.gemini.helpers import KEY
from tests.simulators.gemini_bodies import MODEL, error, error_info
from tests.simulators.replies import body_of, html_reply, json_reply, raw_reply

INVALID_KEY = error(400, "INVALID_ARGUMENT", "API key not valid.", [error_info("API_KEY_INVALID")])


@pytest.mark.parametrize(
    ("status", "body", "kind", "spent"),
    [
        (400, error(400, "INVALID_ARGUMENT", "Unsupported image size."), ProviderRejected, False),
        (400, INVALID_KEY, ProviderRefused, False),
        (400, error(400, "FAILED_PRECONDITION", "User location is not supported."), ProviderRefused, False),
        (401, error(401, "UNAUTHENTICATED", "No valid credentials."), ProviderRefused, False),
        (402, error(402, "RESOURCE_EXHAUSTED", "Prepaid credits are used up."), ProviderRefused, False),
        (403, error(403, "PERMISSION_DENIED", "The project is suspended."), ProviderRefused, False),
        (404, error(404, "NOT_FOUND", "No such model."), ProviderRejected, False),
        (408, error(408, "CANCELLED", "Too slow."), ProviderUnavailable, False),
        (413, error(413, "INVALID_ARGUMENT", "Too large."), ProviderRejected, False),
        (500, error(500, "INTERNAL", "An internal error."), ProviderUnavailable, False),
        (502, error(502, "UNAVAILABLE", "Bad gateway."), ProviderUnavailable, False),
        (503, error(503, "UNAVAILABLE", "The model is overloaded."), ProviderUnavailable, False),
        (504, error(504, "DEADLINE_EXCEEDED", "Deadline expired."), ProviderTimedOut, True),
        (599, error(599, "NEW", "Something new."), ProviderUnavailable, False),
        (302, {}, ProviderRefused, False),
        (202, {}, ProviderUnavailable, True),
    ],
)
def test_a_status_and_its_outcome(failed: Failed, status: int, body: Any, kind: type[JobError], spent: bool) -> None:
    raised = failed(json_reply(body, status))
    assert type(raised) is kind
    assert raised.spent is spent
    assert str(status) in raised.message
    assert body.get("error", {}).get("message", "") in raised.message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 403, 404])
def test_a_gateways_page_is_judged_by_its_status_and_not_repeated(failed: Failed, status: int) -> None:
    raised = failed(html_reply(status))
    assert str(status) in raised.message
    assert "<" not in raised.message


def test_a_model_that_is_gone_is_named(failed: Failed) -> None:
    raised = failed(json_reply(error(404, "NOT_FOUND", "Not found."), 404))
    assert repr(MODEL) in raised.message


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00\x81", b"", b"[" * 100_000, b"null", b"[]", b'"no"', b'{"error": "no"}']
)
def test_an_error_whose_body_cannot_be_read_is_judged_by_its_status(failed: Failed, body: bytes) -> None:
    assert type(failed(raw_reply(body, 503))) is ProviderUnavailable


def test_an_error_in_a_list_is_read(failed: Failed) -> None:
    raised = failed(json_reply([error(400, "FAILED_PRECONDITION", "Billing is off.")], 400))
    assert type(raised) is ProviderRefused
    assert "Billing is off." in raised.message


def test_googles_words_are_bounded(failed: Failed) -> None:
    assert len(failed(json_reply(error(400, "INVALID_ARGUMENT", "no " * 5000), 400)).message) < 500


@pytest.mark.parametrize("place", ["message", "status", "reason"])
def test_a_key_that_google_names_is_taken_out(failed: Failed, place: str) -> None:
    told = {"message": "denied", "status": "PERMISSION_DENIED", "reason": "API_KEY_INVALID"}
    told[place] = f"Consumer 'api_key:{KEY}' has been suspended."
    body = error(403, told["status"], told["message"], [error_info(told["reason"])])
    raised = failed(json_reply(body, 403))
    assert type(raised) is ProviderRefused
    assert KEY not in raised.message + repr(raised)


KEYS = st.sampled_from(["error", "message", "status", "details", "reason", "retryDelay", "violations", "quotaId"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("GeneratePerDay"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.integers(100, 999), JSON, st.dictionaries(st.just("retry-after"), st.text()))
def test_any_answer_is_an_error_of_ours(status: int, body: Any, headers: dict[str, str]) -> None:
    details = ErrorDetails.read(status, json.loads(body_of(body)), headers, key=KEY)
    assert job_error(details, MODEL, datetime(2026, 11, 2, tzinfo=UTC)).message
