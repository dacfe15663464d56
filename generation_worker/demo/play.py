"""The real worker on the demo's database, and the eyes on it until the scene is over."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

from generation_worker import log
from generation_worker.config import ConfigurationError, Settings
from generation_worker.demo.display import Display
from generation_worker.demo.home import Home
from generation_worker.demo.scene import FAULTS
from generation_worker.demo.stage import Progress, Stage
from generation_worker.demo.ticker import Ticker
from generation_worker.events import Events
from generation_worker.log.events import log_events
from generation_worker.wiring import assembled, served, stopped_by_signals
from generation_worker.worker.settings import Ending
from generation_worker.worker.supervisor import Supervisor

LOOPBACK = "127.0.0.1"
LOOK_EVERY = 0.2
PATIENCE = 180.0
"""Seconds after which a scene that does not come to its end is given up."""


def demo_environment(database: str, home: Home) -> dict[str, str]:
    """The environment of the scene's workers: a provider that takes half a second, and short leases."""
    return {
        "DATABASE_URL": database,
        "WORKER_ID": "demo",
        "WORKER_CONCURRENCY": "8",
        "POLL_INTERVAL_MS": "100",
        "LEASE_DURATION": "6s",
        "SHUTDOWN_GRACE": "5s",
        "RETRY_INITIAL_DELAY": "1s",
        "LOCAL_DELAY": "500ms",
        "LOCAL_FAULTS": FAULTS,
        "STORAGE_DIR": str(home.storage),
        "FETCH_CACHE_MB": "0",
        "IMAGE_CHILDREN": "2",
        "HEALTH_HOST": LOOPBACK,
    }


@contextmanager
def working(settings: Settings, ticker: Ticker) -> Generator[tuple[Supervisor, Future[Ending]]]:
    """The worker, claiming while the block runs. Ctrl-C drains it, which the future then tells."""
    events = Events()
    log_events(events, settings.log_level)
    events.subscribe(ticker.hear)
    with (
        assembled(settings, events) as supervisor,
        ThreadPoolExecutor(1, "supervisor") as thread,
        stopped_by_signals(supervisor),
    ):
        supervisor.start()
        ending = thread.submit(supervisor.run)
        try:
            yield supervisor, ending
        finally:
            if not ending.done():  # asked twice it would hurry
                supervisor.request_stop()
            wait([ending])


@contextmanager
def logging_to(path: Path, settings: Settings) -> Generator[None]:
    """Whatever the worker logs goes to a file: the terminal has something better to show."""
    with path.open("w", encoding="utf-8") as file:
        log.configure(settings.log_level, "json", file)
        log.hide_secrets(settings.secret_values())
        try:
            yield
        finally:
            log.configure(settings.log_level, settings.log_format)


@contextmanager
def served_on_loopback(settings: Settings, wanted: int | None, supervisor: Supervisor) -> Generator[str | None]:
    """Where the worker is served, if that is wanted: on that port of loopback, or on a free one where it is taken."""
    with ExitStack() as stack:
        for port in [] if wanted is None else [wanted or _free_port(), _free_port(), _free_port()]:
            try:
                stack.enter_context(served(settings.model_copy(update={"port": port}), supervisor, Events()))
            except ConfigurationError:
                continue  # taken
            yield f"http://{LOOPBACK}:{port}"
            return
        yield None


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return probe.getsockname()[1]


def watch(
    stage: Stage, ending: Future[Ending], display: Display, ticker: Ticker, *, for_ever: bool = False
) -> Progress:
    """Direct and show the scene until it is over, or until the worker ends."""
    with display:
        while True:
            progress = stage.step()
            display.show(progress, ticker.news())
            over = (progress.done or progress.seconds > PATIENCE) and not for_ever
            if over or ending.done():
                return progress
            time.sleep(LOOK_EVERY)
