"""Measures the whole protocol: jobs per second against a bound and a peer, pick-up, idleness, start.

    python -m benchmarks.drain [--jobs 50000] [--quick] [--json FILE] [--only drain|pickup|idle|ready …]

It starts a PostgreSQL of its own, with fsync. What is compared is run in turns, so that a machine that gets slower or
faster does so for all.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Figures, Turn, lines_of, machine, peers_of
from benchmarks.idle import measure_idle
from benchmarks.pickup import measure_pickup
from benchmarks.protocol import OWN_BENCHMARK, QUICKEST, drain_with_bound, drain_with_peer, drain_with_worker
from benchmarks.ready import measure_ready
from benchmarks.report import Progress, show
from benchmarks.server import Server, durable_server

ShowStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; seconds for times."""

    jobs: int = 50_000
    slots: tuple[int, ...] = (50, 500)
    rounds: int = 2
    pickups: int = 200
    idle: float = 15.0
    starts: int = 5


QUICK = Sizes(jobs=5_000, rounds=1, pickups=30, idle=6.0, starts=3)


def measure(sizes: Sizes, parts: Collection[str], show_step: ShowStep) -> Figures:
    """The figures of ``parts``, by their names."""
    here = machine()
    show_step("starting a PostgreSQL")
    with durable_server() as server:
        settings = server.settings()
        figures = {part: PARTS[part](server, sizes, show_step) for part in parts}
    return {"machine": here | {"load_after": os.getloadavg()[0]}, "server": settings, **figures}


def drains(server: Server, sizes: Sizes, show_step: ShowStep) -> Figures:
    """Worker, bound and peer, one after the other for each number of slots and each price, in each round."""
    turns: dict[tuple[int, int], list[Turn]] = {}
    for number, (slots, cost) in product(range(sizes.rounds), product(sizes.slots, (0, 1))):
        show_step(f"round {number + 1} of {sizes.rounds}: {sizes.jobs:,} jobs for {cost} credits, {slots} at a time")
        turns.setdefault((slots, cost), []).append(one_turn(server, sizes.jobs, cost, slots))
    show_step("pgqueuer as in its own benchmark")
    other = [drain_with_peer(server, jobs=sizes.jobs, settings=OWN_BENCHMARK) for _ in range(sizes.rounds)]
    quickest = [turn["peer"] for rounds in turns.values() for turn in rounds]
    return {
        "jobs": sizes.jobs,
        "lines": lines_of(turns),
        "pgqueuer": peers_of({OWN_BENCHMARK: other, QUICKEST: quickest}),
    }


def one_turn(server: Server, jobs: int, cost: int, slots: int) -> Turn:
    return {
        "ours": drain_with_worker(server, jobs=jobs, cost=cost, slots=slots),
        "bound": drain_with_bound(server, jobs=jobs, cost=cost, slots=slots),
        "peer": drain_with_peer(server, jobs=jobs, settings=QUICKEST),
    }


def pickups(server: Server, sizes: Sizes, show_step: ShowStep) -> Figures:
    show_step(f"enqueuing {sizes.pickups} single jobs, with LISTEN and then without")
    return {
        "listen": measure_pickup(server, jobs=sizes.pickups, listen=True),
        "poll": measure_pickup(server, jobs=sizes.pickups, listen=False),
    }


def idleness(server: Server, sizes: Sizes, show_step: ShowStep) -> Figures:
    show_step(f"counting the queries of idle workers for {sizes.idle:.0f} seconds")
    return measure_idle(server, seconds=sizes.idle)


def readiness(server: Server, sizes: Sizes, show_step: ShowStep) -> Figures:
    show_step(f"starting generation-worker run, {sizes.starts} times")
    return measure_ready(server, starts=sizes.starts)


PARTS = {"drain": drains, "pickup": pickups, "idle": idleness, "ready": readiness}


def main() -> None:
    usage, explanation = "python -m benchmarks.drain", (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog=usage, description=explanation)
    parser.add_argument("--jobs", type=int, help="jobs of one drain")
    parser.add_argument("--quick", action="store_true", help="less of everything, and less to be trusted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="measure only these")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    console = Console()
    figures = measure(replace(sizes, jobs=arguments.jobs or sizes.jobs), arguments.only, Progress(console))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, console)


if __name__ == "__main__":
    main()
