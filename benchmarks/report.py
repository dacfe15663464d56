"""Prints the figures as tables; the JSON has every number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures

KINDS = {"listen": "with LISTEN", "poll": "polling each second"}
PRICES = {0: "free", 1: "charged"}


class Progress:
    """Prints the current step with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()

    def __call__(self, step: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._begun:6.1f} s[/dim]  {step}", highlight=False)


def show(figures: Figures, console: Console) -> None:
    """Print every table for which there are figures, and the machine they were measured on."""
    for part, draw in TABLES.items():
        for table in draw(figures[part]) if part in figures else ():
            console.print(table)
    here, server = figures["machine"], figures["server"]
    console.print("PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in server.items()), highlight=False)
    console.print(
        f"{here['cores']} cores, Python {here['python']}, load {here['load_before']:.1f} before and "
        f"{here['load_after']:.1f} after. Ratios compare runs in turns: trust them more than the absolute numbers.",
        highlight=False,
    )


def _drains(found: Figures) -> Iterator[Table]:
    yield _ours(found)
    yield _compared(found)
    yield _peers(found)


def _ours(found: Figures) -> Table:
    title = f"One process drains {found['jobs']:,} jobs that do nothing; CPU in microseconds a job"
    table = _table(
        title, "slots", "", "jobs/s", "start to end", "worker CPU", "server CPU", "per claim", "per settlement"
    )
    for line in found["lines"]:
        ours = line["ours"]
        names = ("jobs_per_second", "whole_process", "worker_cpu", "server_cpu", "claim_batch", "settle_batch")
        table.add_row(str(line["slots"]), PRICES[line["cost"]], *(f"{ours[name]:,.0f}" for name in names))
    return table


def _compared(found: Figures) -> Table:
    title = "In turns with pgbench running the same statements, and with pgqueuer: jobs/s, and ours as a share"
    table = _table(title, "slots", "", "ours", "pgbench", "share", "of CPU", "pgqueuer", "share", "of CPU")
    for line in found["lines"]:
        speeds = [f"{line[who]['jobs_per_second']:,.0f}" for who in ("ours", "bound", "peer")]
        bound, peer = ([f"{line[f'{what}of_{who}']:.2f}" for what in ("", "cpu_")] for who in ("bound", "peer"))
        table.add_row(str(line["slots"]), PRICES[line["cost"]], *speeds[:2], *bound, speeds[2], *peer)
    return table


def _peers(found: Figures) -> Table:
    table = _table(
        "pgqueuer: one process, durable tables, no credits", "", "jobs/s", "worker CPU", "server CPU", "driver"
    )
    for settings, line in found["pgqueuer"].items():
        numbers = [f"{line[name]:,.0f}" for name in ("jobs_per_second", "worker_cpu", "server_cpu")]
        table.add_row(settings, *numbers, line["driver"])
    return table


def _pickups(found: Figures) -> Iterator[Table]:
    table = _table("From commit to the start of work, milliseconds", "", "median", "95 %", "longest")
    for kind, waits in found.items():
        table.add_row(KINDS[kind], *(f"{waits[name]:,.1f}" for name in ("median", "p95", "longest")))
    yield table


def _idle(found: Figures) -> Iterator[Table]:
    table = _table("An idle worker", "", "transactions/s", "queries/minute")
    for kind, rates in found.items():
        table.add_row(KINDS[kind], f"{rates['transactions_per_second']:.2f}", f"{rates['queries_per_minute']:.0f}")
    yield table


def _ready(found: Figures) -> Iterator[Table]:
    table = _table("generation-worker run", "", "ready after, median", "slowest", "its memory", "image processes")
    children = f"{found['children']} with {found['children_megabytes']:.0f} MB together"
    times = (f"{found['seconds']:.2f} s", f"{found['slowest']:.2f} s")
    table.add_row("idle", *times, f"{found['megabytes']:.0f} MB", children)
    yield table


TABLES: dict[str, Callable[[Figures], Iterator[Table]]] = {
    "drain": _drains,
    "pickup": _pickups,
    "idle": _idle,
    "ready": _ready,
}


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
