"""A scanner of one's own: what is planted here must not fail the test that plants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.canaries.scanner import Finding, scanner

Found = Callable[[], list[Finding]]


@pytest.fixture
def found() -> Iterator[Found]:
    """What the armed scanner has found, which is then forgotten."""
    assert scanner.take() == []
    yield scanner.take
    scanner.take()
