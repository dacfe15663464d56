from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from generation_worker.cli.output import aligned, plain, span, text
from generation_worker.db.enqueue import Cancellation


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0, "0s"),
        (0.35, "350ms"),
        (3.4, "3s"),
        (60, "1m"),
        (125, "2m 5s"),
        (3600 + 12 * 60 + 5, "1h 12m"),
        (86_400 * 3 + 4 * 3600, "3d 4h"),
        (86_400 * 3 + 60, "3d"),
        (-90, "-1m 30s"),
    ],
)
def test_spans(seconds: float | None, shown: str):
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), ("", "–"), (True, "yes"), (0, "0"), ("a\x1b[2J\nb", "a [2J b"), ({"ä": [1]}, '{"ä": [1]}')],
)
def test_values_are_one_line(value: Any, shown: str):
    assert text(value) == shown


def test_values_as_json_holds_them():
    job, moment = UUID(int=7), datetime(2030, 1, 31, tzinfo=UTC)
    value = {"a": Cancellation("cancelled", True), "b": (job, moment), "c": [Decimal(3), Decimal("0.5"), None]}
    assert plain(value) == {
        "a": {"status": "cancelled", "cancel_requested": True},
        "b": [str(job), "2030-01-31T00:00:00+00:00"],
        "c": [3, 0.5, None],
    }


def test_lines_are_aligned_and_have_no_blanks_at_their_ends():
    assert aligned(("a", "bb"), [["ccc", "d"], ["e", ""]], title="T") == ["T", "a    bb", "ccc  d", "e", ""]
