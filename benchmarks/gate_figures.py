"""What the provider and the database have seen of a run, as figures.

What a limit allows, and which share of it was used: ``limit`` calls may arrive within any 60 seconds, so a call must
come 60 seconds after the one that is ``limit`` places before it, and a perfect limiter with a queue that never runs
dry makes it come just then. The share is 60 seconds by the mean time from a call to the one ``limit`` places later.
It cannot pass 1 unless the limit is broken, and does not depend on where the run ends.

A count does. Calls come in bursts, one at the beginning of each minute, so limit × T/60 flatters whoever begins with
a burst. And limit × T/60 rounded up to whole minutes, the most that any limiter can let through in T seconds, does
not show for an hour that our minutes last 60.6 seconds. This one is given too, as ``most``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.counted import Cost, cost_of
from benchmarks.figures import Figures
from generation_worker.domain.gate import WINDOW as GATE_WINDOW
from tests.simulators.arrivals import WINDOW, Arrivals

TARGET = 0.98
ASKED_OF_THE_GATE = ("claim_limited_jobs", "begin_call", "renew_permit", "finish_call")

JOBS = """
SELECT count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'pending') AS left_over, sum(waits) AS waits,
       (SELECT count(*) FROM generation.provider_call WHERE error_code = 'rate_limited') AS limited,
       (SELECT count(*) FROM generation.provider_call WHERE error_code = 'gate_closed') AS turned_back
  FROM generation.generation_job
"""
BEGUN = r"""
SELECT DISTINCT ON (j.id)
       substring(j.payload->>'prompt' FROM 'number (\d+)'), extract(epoch FROM c.started_at)::float8
  FROM generation.provider_call c JOIN generation.generation_job j ON j.id = c.job_id
 WHERE c.error_code IS DISTINCT FROM 'gate_closed'
 ORDER BY j.id, c.number DESC
"""


def figures_of(conninfo: str, seen: Figures, *, limit: int, seconds: float) -> Figures:
    """``seen`` is what the provider says at its end. Milliseconds for what statements and permits take."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(JOBS)
        [row] = cursor.fetchall()
        jobs = {column.name: int(value) for column, value in zip(cursor.description or (), row, strict=True)}
        begun = dict(connection.execute(BEGUN).fetchall())
        statements = {name: described(cost_of(connection, name)) for name in ASKED_OF_THE_GATE}
    return {
        "limit": limit,
        **arrivals_of(seen["times"], limit, seconds),
        **jobs,
        "permit_age": ages_of([when - begun[number] for number, when in seen["came"].items() if number in begun]),
        "statements": statements,
    }


def arrivals_of(times: Sequence[float], limit: int, seconds: float) -> Figures:
    """Figures of arrivals in the order of their times: the busiest minute of all, the rest of those in time."""
    every = iter(times)
    counted = Arrivals(clock=lambda: next(every))
    for _ in times:
        counted.admit(None)
    in_time = [when for when in times if when - times[0] < seconds]
    return {
        "arrivals": len(in_time),
        "most": limit * math.ceil(seconds / WINDOW),
        "busiest_minute": counted.busiest_window(),
        "share": share_of(in_time, limit),
    }


def share_of(times: Sequence[float], limit: int) -> float | None:
    """What was used of the limit, see above; None if not more calls came than the limit is."""
    laps = [later - earlier for earlier, later in zip(times, times[limit:], strict=False)]
    return WINDOW / mean(laps) if laps else None


def ages_of(seconds: Sequence[float]) -> Figures:
    """Milliseconds from a call's permit to its arrival, and how many took longer than the margin for that.

    The permit's time is that of ``begin_call`` or, if it was renewed, of ``renew_permit``.
    """
    ages = sorted(1000 * age for age in seconds)
    late = sum(age > 1000 * (GATE_WINDOW - WINDOW) for age in ages)
    return {"mean": mean(ages), "p99": ages[int(len(ages) * 0.99)], "oldest": ages[-1], "late": late} if ages else {}


def described(cost: Cost) -> Figures:
    mean_time = cost.total / cost.calls if cost.calls else 0.0
    return {"calls": cost.calls, "mean": mean_time, "longest": cost.longest}


def verdict(found: Figures) -> str | None:
    """What is wrong, if anything is."""
    if found["busiest_minute"] > found["limit"]:
        return f"{found['busiest_minute']} calls arrived within a minute, {found['limit']} are allowed"
    if found["limited"]:
        return f"the provider answered {found['limited']} calls with 429"
    return None


def show_gate(figures: Figures, console: Console) -> None:
    """The figures as a table, and the verdict if it is bad."""
    found, here, sizes = figures["gate"], figures["machine"], figures["sizes"]
    title = f"{sizes['workers']} workers, {sizes['threads']} threads each, {sizes['limit']} calls a minute allowed"
    table = Table("", "measured", "wanted", title=title, title_justify="left")
    for row in _rows(found):
        table.add_row(*row)
    console.print(table)
    load = f"load {here['load_before']:.1f} before and {here['load_after']:.1f} after"
    console.print(f"{here['cores']} cores, Python {here['python']}, {load}.", highlight=False)
    if problem := verdict(found):
        console.print(f"[red]The limit was not kept:[/red] {problem}.", highlight=False)


def _rows(found: Figures) -> Iterator[tuple[str, str, str]]:
    age, claims = found["permit_age"], found["statements"]["claim_limited_jobs"]
    yield "calls in the busiest minute", f"{found['busiest_minute']}", f"{found['limit']} at most"
    share = "no minute was full" if found["share"] is None else f"{found['share']:.2%}"
    yield "share of what the limit allows", share, f"{TARGET:.0%} or more"
    yield "calls within the run", f"{found['arrivals']:,}", f"{found['most']:,} at the very most"
    yield "429s received", f"{found['limited']}", "0"
    yield "times that a job had to wait", f"{found['waits']}", ""
    yield "calls turned back", f"{found['turned_back']}", ""
    if age:
        yield "from permit to arrival", f"{age['mean']:.0f} ms, 99 % {age['p99']:.0f} ms", ""
        yield "later than the margin", f"{age['late']}, oldest {age['oldest']:.0f} ms", "0"
    yield "claims", f"{claims['calls']:,} for {claims['mean']:.1f} ms", ""
    yield "jobs completed", f"{found['completed']:,}, {found['left_over']:,} left", ""
    yield "jobs failed", f"{found['failed']}", "0"
