"""The list of guards that `make mutants` takes out has not been overtaken by the code."""

from __future__ import annotations

import pytest

from scripts.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.guard[:40]}")
def test_each_guard_stands_where_the_list_says(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.guard) == 1
    assert mutant.find_tests()
