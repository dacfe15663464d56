"""Asserting that the database refuses, with the SQLSTATE that callers rely on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest

NOT_IN_THE_STATE_CHART = "GW001"
FINAL = "GW002"
APPEND_ONLY = "GW003"
ANOTHER_REQUEST = "GW004"
INSUFFICIENT_CREDITS = "GW005"
NOT_VALID = "GW006"


@contextmanager
def refused(sqlstate: str, match: str | None = None) -> Generator[None]:
    """The block must raise a database error with `sqlstate` and a message that `match` (a pattern) is found in."""
    with pytest.raises(psycopg.DatabaseError, match=match) as caught:
        yield
    assert caught.value.sqlstate == sqlstate, caught.value
