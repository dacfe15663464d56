"""The words by which the server's counts of a statement are found."""

from __future__ import annotations

import pytest

from benchmarks.counted import words_of
from benchmarks.events import ASKED
from benchmarks.gate_figures import ASKED_OF_THE_GATE
from generation_worker.db.statements import load_statements


@pytest.mark.parametrize("name", [*ASKED, *ASKED_OF_THE_GATE])
def test_only_the_statement_has_its_words(name: str) -> None:
    words = words_of(name)
    assert [each for each, text in load_statements().items() if words in text.decode()] == [name]


@pytest.mark.parametrize("name", [*ASKED, *ASKED_OF_THE_GATE])
def test_nothing_in_them_becomes_a_parameter(name: str) -> None:
    words = words_of(name)
    assert not any(each in words for each in ("%", "'", "NULL", "(epoch", *"0123456789"))


def test_a_statement_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        words_of("claim_nothing")
