"""Measures streams of events: how late they are, and what they ask of the database, while jobs come in.

    python -m benchmarks.events [--seconds 60] [--streams 200] [--per-second 50] [--json FILE]

A worker as people start it serves the API and does the jobs, on a PostgreSQL of our own. It is measured twice: with one
stream open, and with many. Every other job ends in that worker, which looks sooner then; the others are cancelled by
somebody else, which the reader finds at its next look. The exit status is 1 if a stream missed the end of its job.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import httpx
import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.counted import COUNTED, Cost, cost_of, start_counting
from benchmarks.figures import Figures, machine
from benchmarks.gate import Running
from benchmarks.report import Progress
from benchmarks.server import durable_server
from generation_worker.db.embedded import free_port
from generation_worker.web.api.stream_reader import READ_INTERVAL
from tests.support.listening import Crowd, Listener

ShowStep = Callable[[str], None]

USER = "ada"
ASKED = ("read_changes", "gone_callers", "start_stream")
"""The statements of streams."""
LATER = "2090-01-01T00:00:00Z"
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long each of the two runs lasts, how many streams the second one keeps open, and how many jobs come in."""

    seconds: float = 60.0
    streams: int = 200
    per_second: int = 50

    @property
    def cancelled_after(self) -> float:
        """Seconds after which a job that waits is cancelled by somebody else: so that as many streams stay open."""
        return 2 * self.streams / self.per_second


def measure(sizes: Sizes, show_step: ShowStep) -> Figures:
    """Raises RuntimeError if the worker ends, or a stream does not."""
    here = machine()
    show_step("starting a PostgreSQL")
    with durable_server(**COUNTED) as server:
        found: Figures = {}
        for streams in (1, sizes.streams):
            with server.database() as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
                prepare(connection, sizes)
                with worker(conninfo) as (url, process):
                    show_step(f"{streams} streams, {sizes.per_second} jobs a second")
                    found["one" if streams == 1 else "many"] = Run(connection, url, process, sizes, streams).figures()
        settings = server.settings()
    found["asks"] = ratio(found, "looks_per_second")
    here |= {"load_after": os.getloadavg()[0]}
    return {"machine": here, "server": settings, "sizes": asdict(sizes), "events": found}


def ratio(found: Figures, name: str) -> float:
    return found["many"][name] / found["one"][name]


def prepare(connection: psycopg.Connection[Any], sizes: Sizes) -> None:
    start_counting(connection)
    connection.execute("SELECT generation.offer_providers(ARRAY['local'])")
    credit = round(10 * sizes.seconds * sizes.per_second) + 1000
    connection.execute("SELECT generation.grant_credits(%s, %s)", [USER, credit])


@contextmanager
def worker(conninfo: str) -> Generator[tuple[str, psutil.Process]]:
    """Where its API is, and its process. Its jobs end at once: a picture would take time that is not ours."""
    with tempfile.TemporaryDirectory(prefix="generation-worker-bench-") as directory:
        port = free_port()
        environment = {
            **{"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "DATABASE_URL": conninfo},
            **{"STORAGE_DIR": f"{directory}/storage", "LOCAL_FAULTS": "blank=no_image", "WORKER_MAX_RETRIES": "0"},
            **{"HEALTH_HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning", "IMAGE_CHILDREN": "1"},
            **{"WORKER_ENABLE_METRICS": "false", "API_MOST_WAITING": "1000000"},
            **{"API_MOST_STREAMS": "5000", "API_STREAMS_PER_KEY": "5000"},
        }
        running = Running(Path(directory, "log"), environment)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_answer(url, running)
            yield url, psutil.Process(running.pid)
        finally:
            running.terminate()
            running.end()


def wait_for_answer(url: str, running: Running) -> None:
    give_up_at = time.monotonic() + TIMEOUT
    while True:
        running.check_running()
        try:
            if httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > give_up_at:
            raise RuntimeError("the worker does not begin to answer")
        time.sleep(0.05)


class Run:
    """Jobs come in at their pace; whenever fewer streams are open than there should be, the next job is followed."""

    def __init__(
        self, connection: psycopg.Connection[Any], url: str, process: psutil.Process, sizes: Sizes, streams: int
    ) -> None:
        self._connection = connection
        self._url = url
        self._process = process
        self._sizes = sizes
        self._streams = streams
        self._followed: list[Listener] = []
        self._open: list[Listener] = []
        self._to_cancel: deque[tuple[float, str]] = deque()

    def figures(self) -> Figures:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client, Crowd(self._url) as crowd:
            before = self._costs()
            begun = time.monotonic()
            for number in range(round(self._sizes.seconds * self._sizes.per_second)):
                time.sleep(max(0.0, begun + number / self._sizes.per_second - time.monotonic()))
                self._enqueue(client, crowd, number)
                self._cancel_what_is_due()
            lasted = time.monotonic() - begun
            after = self._costs()
            asked = {name: after[name].calls - before[name].calls for name in ASKED}
            looking = after["read_changes"].total - before["read_changes"].total
            still_open = sum(not stream.ended for stream in self._open)
            memory, threads = self._process.memory_info().rss, self._process.num_threads()
            self._cancel_what_is_due(at_once=True)
            self._wait_for_ends()
        return {
            "seconds": lasted,
            "streams": self._streams,
            "open_at_the_end": still_open,
            "followed": len(self._followed),
            "missed": sum(stream.events[-1].kind != "end" for stream in self._followed),
            "looks_per_second": asked["read_changes"] / lasted,
            "looking_share": looking / 1000 / lasted,
            "asked": asked,
            "memory_mib": memory / 2**20,
            "threads": threads,
            "lag": {status: lag_of(self._followed, status) for status in ("failed", "cancelled")},
        }

    def _enqueue(self, client: httpx.Client, crowd: Crowd, number: int) -> None:
        body: dict[str, Any] = {"kind": "text_to_image", "user_id": USER, "payload": {"prompt": "a blank page"}}
        waits = number % 2 == 0
        accepted = (
            client.post("/worker/jobs", json=body | ({"run_at": LATER} if waits else {})).raise_for_status().json()
        )
        if waits:
            self._to_cancel.append((time.monotonic() + self._sizes.cancelled_after, accepted["id"]))
        self._open = [stream for stream in self._open if not stream.ended]
        if len(self._open) < self._streams:
            stream = crowd.listen(accepted["events_url"], wait=False)
            self._open.append(stream)
            self._followed.append(stream)

    def _cancel_what_is_due(self, *, at_once: bool = False) -> None:
        while self._to_cancel and (at_once or self._to_cancel[0][0] <= time.monotonic()):
            self._connection.execute("SELECT generation.cancel_generation(%s)", [self._to_cancel.popleft()[1]])

    def _wait_for_ends(self) -> None:
        give_up_at = time.monotonic() + TIMEOUT
        while not all(stream.ended for stream in self._followed):
            if time.monotonic() > give_up_at:
                raise RuntimeError("a stream did not end")
            time.sleep(0.05)

    def _costs(self) -> dict[str, Cost]:
        return {name: cost_of(self._connection, name) for name in ASKED}


def lag_of(streams: Sequence[Listener], status: str) -> Figures:
    """From the timestamp of a job's end to its event on the stream, in read intervals.

    Streams that were opened after the end of their job are left out.
    """
    lags = [
        (stream.events[-2].at - datetime.fromisoformat(stream.jobs[-1]["finished_at"]).timestamp()) / READ_INTERVAL
        for stream in streams
        if stream.statuses[-1:] == [status] and len(stream.jobs) > 1
    ]
    if len(lags) < 2:
        return {"number": len(lags)}
    return {
        "number": len(lags),
        "mean": mean(lags),
        "median": median(lags),
        "p99": quantiles(lags, n=100)[-1],
        "most": max(lags),
    }


def show(figures: Figures, console: Console) -> None:
    found = figures["events"]
    table = Table(
        "", "one stream", f"{found['many']['streams']} streams", title="Streams of events", title_justify="left"
    )
    for name, text in (
        ("open_at_the_end", "{:,.0f}"), ("followed", "{:,.0f}"), ("missed", "{:,.0f}"),
        ("looks_per_second", "{:.2f}"), ("looking_share", "{:.2%}"),
        ("memory_mib", "{:,.0f}"), ("threads", "{:.0f}"),
    ):  # fmt: skip
        table.add_row(name.replace("_", " "), *(text.format(found[run][name]) for run in ("one", "many")))
    for status, what in (("failed", "ended in this worker"), ("cancelled", "ended by others")):
        for figure in ("median", "p99"):
            lags = [found[run]["lag"][status].get(figure) for run in ("one", "many")]
            table.add_row(
                f"{what}: lag, {figure}, in read intervals", *("–" if lag is None else f"{lag:.2f}" for lag in lags)
            )
    console.print(table)
    console.print(f"The database is asked {found['asks']:.2f} times as often as for one stream.", highlight=False)


def main() -> None:
    asked = options()
    sizes = Sizes(**{name: value for name, value in vars(asked).items() if name != "json"})
    console = Console()
    figures = measure(sizes, Progress(console))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, console)
    sys.exit(figures["events"]["one"]["missed"] + figures["events"]["many"]["missed"] > 0)


def options() -> argparse.Namespace:
    usage, explanation = "python -m benchmarks.events", (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(
        prog=usage, description=explanation, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    default = Sizes()
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of each of the two runs")
    parser.add_argument("--streams", type=int, default=default.streams, help="kept open in the second run")
    parser.add_argument("--per-second", type=int, default=default.per_second, help="jobs that come in")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
