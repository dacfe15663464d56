import math

import pytest
from hypothesis import given, strategies as st

from generation_worker.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("90d", 90 * 86_400),
        ("1h30m", 5400),
        ("1h0m0s", 3600),
        ("1.5h", 5400),
        (" 5M ", 300),
        ("5", 5),
        ("0.25", 0.25),
        ("0", 0),
        (7, 7),
        (0.5, 0.5),
    ],
)
def test_reads(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-5s", "5 minutes", "1e3", "5x", "5s!", "٥s", "nan", "inf", "9" * 400, -1, math.nan, True, None, [5]],
)
def test_refuses(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (90, "90s"), (60, "1m"), (600, "10m"), (3600, "1h"), (86_400, "1d"), (5400, "90m")],
)
def test_writes_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**11))
def test_reads_what_it_writes(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000
