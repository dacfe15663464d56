"""The benchmark in miniature: it runs, and reports every figure. How large they are is no test's business."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks.drain import PARTS, Sizes, measure
from benchmarks.figures import Figures
from benchmarks.report import Progress, show

MINIATURE = Sizes(jobs=500, slots=(5,), rounds=1, pickups=2, idle=0.5, starts=1)


@pytest.fixture(scope="module")
def output() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.fixture(scope="module")
def figures(output: Console) -> Figures:
    return measure(MINIATURE, list(PARTS), Progress(output))


def test_worker_bound_and_peer_drain_in_turns(figures: Figures) -> None:
    lines = figures["drain"]["lines"]
    assert [(line["slots"], line["cost"]) for line in lines] == [(5, 0), (5, 1)]
    for line in lines:
        assert [list(turn) for turn in line["rounds"]] == [["ours", "bound", "peer"]]
        assert all(line[share] > 0 for share in ("of_bound", "of_peer", "cpu_of_bound", "cpu_of_peer"))


def test_a_drain_by_a_worker_has_every_figure(figures: Figures) -> None:
    ours = figures["drain"]["lines"][0]["ours"]
    assert all(value > 0 for name, value in ours.items() if name != "driver")
    assert 1 <= ours["claim_batch"] <= 5


def test_the_peer_is_measured_with_more_than_one_setting(figures: Figures) -> None:
    peers = figures["drain"]["pgqueuer"]
    assert [line["driver"] in {"asyncpg", "psycopg"} for line in peers.values()] == [True, True]


def test_pickup_is_measured_with_and_without_listen(figures: Figures) -> None:
    for waits in figures["pickup"].values():
        assert 0 < waits["median"] <= waits["p95"] <= waits["longest"]
    assert list(figures["pickup"]) == ["listen", "poll"]


def test_idleness_is_measured_with_and_without_listen(figures: Figures) -> None:
    assert list(figures["idle"]) == ["listen", "poll"]
    assert all(set(rates) == {"transactions_per_second", "queries_per_minute"} for rates in figures["idle"].values())


def test_the_start_and_the_memory_of_the_program_are_measured(figures: Figures) -> None:
    assert set(figures["ready"]) == {"seconds", "slowest", "megabytes", "children", "children_megabytes"}
    assert figures["ready"]["megabytes"] > 10


def test_the_server_is_durable(figures: Figures) -> None:
    assert (figures["server"]["fsync"], figures["server"]["synchronous_commit"]) == ("on", "on")


def test_the_machine_and_its_load_are_named(figures: Figures) -> None:
    assert {"cores", "python", "packages", "load_before", "load_after"} <= set(figures["machine"])


def test_figures_are_json(figures: Figures) -> None:
    assert json.loads(json.dumps(figures)) == figures


def test_what_is_measured_is_said_and_then_shown(figures: Figures, output: Console) -> None:
    show(figures, output)
    assert isinstance(output.file, io.StringIO)
    said = output.file.getvalue()
    assert "round 1 of 1: 500 jobs for 1 credits, 5 at a time" in said
    for shown in ("pgbench", "pgqueuer", "with LISTEN", "polling each second", "generation-worker run", "fsync on"):
        assert shown in said
