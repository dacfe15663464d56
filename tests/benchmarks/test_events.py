"""The measurement of event streams in miniature."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.events import Sizes, measure, show
from benchmarks.figures import Figures
from benchmarks.report import Progress

MINIATURE = Sizes(seconds=4, streams=5, per_second=10)


@pytest.fixture(scope="module")
def output() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.fixture(scope="module")
def figures(output: Console) -> Figures:
    return measure(MINIATURE, Progress(output))


def test_every_stream_hears_its_end(figures: Figures) -> None:
    one, many = figures["events"]["one"], figures["events"]["many"]
    assert (one["missed"], many["missed"]) == (0, 0)
    assert many["followed"] >= MINIATURE.streams
    assert many["asked"]["start_stream"] >= MINIATURE.streams


def test_what_the_reader_asks_is_counted(figures: Figures) -> None:
    for run in ("one", "many"):
        assert figures["events"][run]["asked"]["read_changes"] > 0
        assert figures["events"][run]["lag"]["cancelled"]["number"] > 0
    assert figures["events"]["asks"] > 0


def test_it_is_shown(figures: Figures, output: Console) -> None:
    show(figures, output)
    assert isinstance(output.file, io.StringIO)
    assert "ended by others" in output.file.getvalue()
