"""Figures over time, as the chart on a page takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Span = Literal["hour", "day"]


class Chart(NamedTuple):
    """``points`` is JSON for the script: times in seconds, then a list for each line. ``summary`` says it in words."""

    points: str
    summary: str
    exact: bool


def chart_of(spans: Sequence[Any], seconds: float) -> Chart:
    """``spans`` as ``Insights.history`` has them, each of ``seconds``."""
    series = [
        [round(span.since.timestamp()) for span in spans],
        [span.completed for span in spans],
        [span.failed for span in spans],
        [span.mean_seconds and round(span.mean_seconds, 2) for span in spans],
    ]
    completed, failed = sum(series[1]), sum(series[2])
    hours = len(spans) * seconds / 3600
    summary = (
        f"{completed:,} completed and {failed:,} failed in the last {'hour' if hours == 1 else f'{hours:g} hours'}"
    )
    return Chart(json.dumps(series), summary, all(span.exact for span in spans))
