"""The measurement of the gate in miniature, and what its figures mean."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.figures import Figures
from benchmarks.gate import Sizes, measure
from benchmarks.gate_figures import ages_of, arrivals_of, share_of, show_gate, verdict
from benchmarks.report import Progress

MINIATURE = Sizes(seconds=2, limit=6, workers=2, threads=2, quickest=0.01, slowest=0.05)


@pytest.fixture(scope="module")
def output() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.fixture(scope="module")
def figures(output: Console) -> Figures:
    return measure(MINIATURE, Progress(output))


def test_the_calls_of_all_workers_are_counted_where_they_arrive(figures: Figures) -> None:
    found = figures["gate"]
    assert (found["arrivals"], found["busiest_minute"], found["limited"]) == (6, 6, 0)
    assert (found["completed"], found["failed"]) == (6, 0)
    assert found["left_over"] == MINIATURE.jobs - 6
    assert verdict(found) is None


def test_what_the_gate_costs_is_counted_by_the_server(figures: Figures) -> None:
    statements = figures["gate"]["statements"]
    assert statements["begin_call"]["calls"] == statements["finish_call"]["calls"] == 6
    assert statements["claim_limited_jobs"]["calls"] >= 2
    assert all(each["calls"] == 0 or each["longest"] >= each["mean"] > 0 for each in statements.values())


def test_permits_are_older_than_their_calls_but_not_much(figures: Figures) -> None:
    age = figures["gate"]["permit_age"]
    assert 0 < age["mean"] <= age["p99"] <= age["oldest"]


def test_what_is_done_is_said_and_then_shown(figures: Figures, output: Console) -> None:
    show_gate(figures, output)
    assert isinstance(output.file, io.StringIO)
    said = output.file.getvalue()
    for shown in ("2 workers with 2 threads each", "in the last minute", "calls in the busiest minute", "6 at most"):
        assert shown in said
    assert "was not kept" not in said


def test_figures_are_json(figures: Figures) -> None:
    assert json.loads(json.dumps(figures)) == figures


def test_a_limit_that_was_broken_is_said(figures: Figures, output: Console) -> None:
    broken = figures | {"gate": figures["gate"] | {"busiest_minute": 7}}
    assert verdict(broken["gate"]) == "7 calls arrived within a minute, 6 are allowed"
    show_gate(broken, output)
    assert isinstance(output.file, io.StringIO)
    assert "The limit was not kept: 7 calls" in output.file.getvalue()
    assert verdict(figures["gate"] | {"limited": 1}) == "the provider answered 1 calls with 429"


def test_the_busiest_minute_may_lie_anywhere() -> None:
    times = [0.0, 1.0, 50.0, 60.5, 100.0, 109.9, 111.0]
    found = arrivals_of(times, limit=3, seconds=110.0)
    assert found["busiest_minute"] == 4  # from 50.0 on, and from 60.5
    assert (found["arrivals"], found["most"]) == (6, 6)


@pytest.mark.parametrize(
    ("minute", "share"),
    [(60.0, 1.0), (60.6, 0.990), (120.0, 0.5)],
)
def test_the_share_is_by_how_long_a_minute_lasts_whatever_its_bursts(minute: float, share: float) -> None:
    burst = [0.0, 0.1, 0.2, 7.0]
    times = [lap * minute + second for lap in range(4) for second in burst]
    for cut in (5, 8, 9, 16):  # wherever the run ends
        assert share_of(times[:cut], limit=4) == pytest.approx(share, abs=0.0005)


def test_without_a_call_more_than_the_limit_nobody_knows_the_share() -> None:
    assert share_of([0.0, 1.0, 2.0], limit=3) is None
    assert arrivals_of([], limit=3, seconds=60.0) == {
        "arrivals": 0,
        "most": 3,
        "busiest_minute": 0,
        "share": None,
    }


def test_a_permit_that_arrives_after_the_margin_is_counted() -> None:
    assert ages_of([0.1, 0.3, 0.7]) == pytest.approx({"mean": 366.667, "p99": 700, "oldest": 700, "late": 1}, rel=0.001)
    assert ages_of([]) == {}
