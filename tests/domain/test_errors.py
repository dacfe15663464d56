"""The tree of errors: what each answers, and that what is told of it is bounded."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain import errors
from generation_worker.domain.errors import (
    MESSAGE_LIMIT,
    AttemptStopped,
    ContentBlocked,
    InputError,
    InputRejected,
    InternalError,
    JobError,
    ProviderError,
    ProviderLimited,
    ProviderUnavailable,
    clean_message,
)
from generation_worker.domain.settlement import Blocked, Failed, RateLimited, outcome_of
from tests.domain.jobs import ERRORS

FAMILIES = [JobError, InputError, ProviderError]
"""Classes that only group others; each has the code of the member that an outsider most likely meant."""
LEAVES = [error for error in ERRORS if error not in FAMILIES]


def test_each_code_belongs_to_one_error() -> None:
    assert max(Counter(error.code for error in LEAVES).values()) == 1


def test_a_family_has_a_code_of_one_of_its_own() -> None:
    for family in FAMILIES:
        assert family.code in {error.code for error in LEAVES if issubclass(error, family)}


@pytest.mark.parametrize("error", ERRORS)
def test_a_code_is_a_word_to_group_by(error: type[JobError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_without_a_message_speaks_by_its_docstring(error: type[JobError]) -> None:
    assert error().message == (inspect.getdoc(error) or "").splitlines()[0]
    assert error("The key is revoked.").message == "The key is revoked."


@pytest.mark.parametrize("error", ERRORS)
def test_the_tree_is_drawn_as_it_is(error: type[JobError]) -> None:
    assert re.search(rf"(── |    ){error.__name__}\b", errors.__doc__ or "")


@pytest.mark.parametrize("error", LEAVES)
def test_what_the_drawing_calls_final_is_not_tried_again(error: type[JobError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if re.search(rf"── {error.__name__}\b", line))
    assert ("final" in line) == (not error.retry)


def test_an_error_without_docstring_speaks_by_its_name() -> None:
    class Undocumented(ProviderUnavailable):
        pass

    assert Undocumented.__doc__ is None
    assert Undocumented().message == "Undocumented"


def test_reasons_outside_the_attempt_are_not_errors_of_the_job() -> None:
    assert not issubclass(AttemptStopped, JobError)


def test_a_limit_carries_the_time_that_was_asked_for() -> None:
    assert ProviderLimited(wait=3).wait == 3
    assert ProviderLimited().wait is None


@pytest.mark.parametrize("error", [ProviderUnavailable(), InternalError(), InputRejected()])
def test_an_error_amounts_to_a_failure(error: JobError) -> None:
    assert outcome_of(error) == Failed(error)


def test_blocked_content_and_limits_are_outcomes_of_their_own() -> None:
    blocked, limited = ContentBlocked(), ProviderLimited()
    assert outcome_of(blocked) == Blocked(blocked)
    assert outcome_of(limited) == RateLimited(limited)


@given(st.text(max_size=2500))
def test_a_message_is_one_bounded_printable_line(text: str) -> None:
    message = clean_message(text)
    assert message.isprintable()
    assert len(message) <= MESSAGE_LIMIT
    assert message == clean_message(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  two\n\tlines ", "two lines"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\0b", "a b"),
        ("\ud800half", "half"),
        ("right\u202eleft", "right left"),
        ("naïve 凧", "naïve 凧"),
    ],
)
def test_a_message_keeps_words_and_loses_control_characters(text: str, message: str) -> None:
    assert clean_message(text) == message


def test_a_message_that_is_cut_says_so() -> None:
    assert clean_message("x" * MESSAGE_LIMIT) == "x" * MESSAGE_LIMIT
    assert clean_message("x" * (MESSAGE_LIMIT + 1)) == "x" * (MESSAGE_LIMIT - 1) + "…"
