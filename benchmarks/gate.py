"""Measures the gate of a provider's key: the calls that arrive while workers have more jobs than the limit allows.

    python -m benchmarks.gate [--seconds 180] [--limit 600] [--workers 4] [--threads 50] [--json FILE]

The workers are ordinary ones, on a PostgreSQL server of the benchmark. The provider is a process that counts as
providers do: the calls that arrived within the last 60 seconds. The exit status is 1 if there were ever more than the
limit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from rich.console import Console

from benchmarks.counted import COUNTED, start_counting
from benchmarks.figures import Figures, machine
from benchmarks.gate_figures import figures_of, show_gate, verdict
from benchmarks.processes import Child
from benchmarks.report import Progress
from benchmarks.server import GRANT, durable_server
from tests.simulators.arrivals import WINDOW

ShowStep = Callable[[str], None]

FILL = """
INSERT INTO generation.generation_job (kind, user_id, provider, payload, cost)
SELECT 'text_to_image', 'user-' || n %% %(users)s, 'gemini', jsonb_build_object('prompt', format(
         'number %%s sim:slow=%%s', n, round((%(quickest)s + random() * (%(slowest)s - %(quickest)s))::numeric, 3))), 1
  FROM generate_series(1, %(jobs)s) n
"""
USERS = 100
REPORT_INTERVAL = 5.0
"""Seconds."""
TIMEOUT = 60.0
"""Seconds for the first call to arrive, and for a stopped worker to end."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of the run: the limit per minute, times in seconds, and the provider's seconds for a picture."""

    seconds: float = 180.0
    limit: int = 600
    workers: int = 4
    threads: int = 50
    quickest: float = 0.1
    slowest: float = 1.0

    @property
    def jobs(self) -> int:
        """A backlog that lasts: all calls that the limit allows, another minute of them, and a job for each thread."""
        return (math.ceil(self.seconds / WINDOW) + 1) * self.limit + self.workers * self.threads


def measure(sizes: Sizes, show_step: ShowStep) -> Figures:
    """Run the benchmark. Raises RuntimeError if a worker ends too early, or no call arrives."""
    here = machine()
    show_step("starting a PostgreSQL and a provider")
    with (
        durable_server(**COUNTED) as server,
        server.database() as conninfo,
        Child("benchmarks.gate_provider", {"limit": sizes.limit}) as provider,
    ):
        fill(conninfo, sizes)
        environment: dict[str, str] = provider.read()["environment"]
        show_step(f"{sizes.jobs:,} jobs, {sizes.workers} workers with {sizes.threads} threads each")
        with workers(conninfo, environment, sizes) as running:
            watch(provider, running, sizes.seconds, show_step)
        seen = provider.stop()
        found = figures_of(conninfo, seen, limit=sizes.limit, seconds=sizes.seconds)
        settings = server.settings()
    return {
        "machine": here | {"load_after": os.getloadavg()[0]},
        "server": settings,
        "sizes": asdict(sizes),
        "gate": found,
    }


def fill(conninfo: str, sizes: Sizes) -> None:
    """Insert the backlog, of users who can pay for all of it."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        start_counting(connection)
        connection.execute("SELECT generation.offer_providers(ARRAY['gemini'])")
        connection.execute(GRANT, {"users": USERS, "credits": sizes.jobs})
        times = {"quickest": sizes.quickest, "slowest": sizes.slowest}
        connection.execute(FILL, {"users": USERS, "jobs": sizes.jobs, **times})
        connection.execute("VACUUM ANALYZE")


class Running:
    """One ``generation-worker run``, with its log in a file."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            command = [sys.executable, "-m", "generation_worker", "run"]
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_running(self) -> None:
        """Raises RuntimeError with the end of its log if it does not run."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a worker ended with {self._process.returncode}:\n{self._log.read_text()[-2000:]}")

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def workers(conninfo: str, provider: dict[str, str], sizes: Sizes) -> Generator[list[Running]]:
    """Start ordinary workers; all of them have ended after the block."""
    with tempfile.TemporaryDirectory(prefix="generation-worker-bench-") as directory, ExitStack() as stack:
        environment = {
            **{"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_PROXY": "127.0.0.1"},
            **{"no_proxy": "127.0.0.1", "DATABASE_URL": conninfo, "STORAGE_DIR": f"{directory}/storage", **provider},
            **{"GEMINI_RPM": str(sizes.limit), "WORKER_CONCURRENCY": str(sizes.threads), "LOCAL_PROVIDER": "false"},
            **{"IMAGE_CHILDREN": "1", "LOG_LEVEL": "warning", "WORKER_ENABLE_HEALTH_CHECK": "false"},
            **{"WORKER_ENABLE_METRICS": "false", "ENABLE_API": "false", "ENABLE_DASHBOARD": "false"},
        }
        running = [Running(Path(directory, f"log-{n}"), environment) for n in range(sizes.workers)]
        for worker in running:
            stack.callback(worker.end)
        for worker in running:
            stack.callback(worker.terminate)
        yield running


def watch(provider: Child, running: list[Running], seconds: float, show_step: ShowStep) -> None:
    """Return ``seconds`` after the first arrival. Raises RuntimeError if a worker ends, or no call arrives."""
    give_up_at = time.monotonic() + TIMEOUT
    report_at = 0.0
    while True:
        for worker in running:
            worker.check_running()
        now = provider.request()
        gone = now["now"] - now["first"] if now["first"] is not None else None
        if gone is None and time.monotonic() > give_up_at:
            raise RuntimeError(f"no call arrived within {TIMEOUT:g} s")
        if gone is not None and gone >= report_at:
            counts = f"{now['arrivals']:,} calls, {now['last_minute']} in the last minute"
            show_step(f"{min(gone, seconds):3.0f} s of {seconds:g}: {counts}")
            report_at = min(gone + REPORT_INTERVAL, seconds)
        if gone is not None and gone >= seconds:
            return
        time.sleep(0.1 if gone is None else min(1.0, max(0.01, seconds - gone)))


def main() -> None:
    arguments = options()
    sizes = Sizes(**{name: value for name, value in vars(arguments).items() if name != "json"})
    console = Console()
    figures = measure(sizes, Progress(console))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    show_gate(figures, console)
    sys.exit(verdict(figures["gate"]) is not None)


def options() -> argparse.Namespace:
    usage, explanation = "python -m benchmarks.gate", (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(
        prog=usage, description=explanation, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    default = Sizes()
    parser.add_argument("--seconds", type=float, default=default.seconds, help="from the first call on")
    parser.add_argument("--limit", type=int, default=default.limit, help="calls a minute")
    parser.add_argument("--workers", type=int, default=default.workers, help="processes")
    parser.add_argument("--threads", type=int, default=default.threads, help="of each process")
    parser.add_argument("--quickest", type=float, default=default.quickest, help="seconds for a picture, at least")
    parser.add_argument("--slowest", type=float, default=default.slowest, help="seconds for a picture, at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
