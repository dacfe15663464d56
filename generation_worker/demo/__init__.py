"""A scene that shows in half a minute, with real parts, what the worker does and what becomes of everybody's money."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from generation_worker.config import ConfigurationError, Settings, load_settings
from generation_worker.db import migrations
from generation_worker.db.connections import connect
from generation_worker.db.embedded import EmbeddedPostgres
from generation_worker.db.ledger import find_violations
from generation_worker.db.query import Queries
from generation_worker.demo.display import Display, Ticker, display_on
from generation_worker.demo.report import (
    Report,
    as_document,
    make_report,
    print_list,
    print_report,
    write_contact_sheet,
)
from generation_worker.demo.scene import FAULTS, Act, prepare_inputs, scene
from generation_worker.demo.stage import FINAL, Progress, SecondWorker, Stage
from generation_worker.events import Events
from generation_worker.log import setup as log
from generation_worker.log.events import log_events
from generation_worker.storage.disk import DiskStorage
from generation_worker.wiring import assembled, served, stopped_by_signals
from generation_worker.worker.settings import Ending
from generation_worker.worker.supervisor import Supervisor

# Where the demo lives: a directory of its own, and in it a server with a database that is new for every run.


MARKER = ".generation-worker-demo"
"""Tells our directory from one with other things in it: a run begins with removing what the one before has made."""
DATABASE = "demo"
UNFINISHED = "half_migrated"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of the demo; what lies under them is of the latest run."""

    directory: Path

    @property
    def server(self) -> Path:
        return self.directory / "postgres"

    @property
    def storage(self) -> Path:
        return self.directory / "storage"

    @property
    def sheet(self) -> Path:
        return self.directory / "contact-sheet.webp"

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    def places(self) -> dict[str, str]:
        paths = {"contact_sheet": self.sheet, "storage": self.storage, "log": self.log, "database": self.server}
        return {name: str(path) for name, path in paths.items()}

    def move_in(self) -> None:
        """Make the directory, or take it over. Raises ConfigurationError if it is somebody else's."""
        taken = self.directory.exists() and not (self.directory / MARKER).exists()
        if taken and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise ConfigurationError([f"--directory: {self.directory} has other things in it; name a new one"])
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / MARKER).touch()

    def clear(self) -> None:
        """Remove what the run before has made; only who holds the server may."""
        shutil.rmtree(self.storage, ignore_errors=True)
        for path in (self.sheet, self.log):
            path.unlink(missing_ok=True)


@contextmanager
def own_server(home: Home) -> Generator[EmbeddedPostgres]:
    """The server, running while the block does. Raises EmbeddedPostgresError, also while another demo has it."""
    with EmbeddedPostgres(home.server, durable=False) as postgres:
        yield postgres


def new_database(postgres: EmbeddedPostgres) -> str:
    """The address of a migrated database without rows. It is a copy of a template, which takes a tenth of a second."""
    template = f"migrated_{migrations.digest()[:16]}"
    with connect(postgres.conninfo(), prepare=False) as connection:
        queries = Queries.on(connection)
        names = {row["name"] for row in queries.rows("demo_databases")}
        for name in names - {template}:
            _run_written(queries, "demo_drop_database", name=name)
        if template not in names:
            _run_written(queries, "demo_create_database", name=UNFINISHED, template="template1")
            migrations.upgrade(postgres.conninfo(UNFINISHED))
            _run_written(queries, "demo_rename_database", name=UNFINISHED, new=template)
        _run_written(queries, "demo_create_database", name=DATABASE, template=template)
    return postgres.conninfo(DATABASE)


def _run_written(queries: Queries, statement: str, **values: str) -> None:
    """Run what `statement` returns: a statement with names in it, which cannot be parameters."""
    for row in queries.rows(statement, **values):
        with queries.connection() as connection:
            connection.execute(row["statement"])


# The real worker on the demo's database, and the eyes on it until the scene is over.


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


# One run of the demo, from an empty directory to a report.


WIDTH = 150
"""Columns where there is no terminal to ask."""
EXAMPLE = (
    """SELECT * FROM generation.enqueue_generation('text_to_image', 'ada', '{"prompt": "a red kite over the sea"}');"""
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for."""

    photos: Sequence[Path]
    keep: bool
    show_all: bool
    as_json: bool
    port: int | None


def run_demo(
    *, photos: Sequence[Path], keep: bool, directory: Path, show_all: bool, as_json: bool, port: int | None
) -> int:
    """Put the scene on and report; the process's exit status: 0 if everything was as expected.

    ``keep`` leaves the worker running until Ctrl-C; then the dashboard and the health page are served, on loopback, on
    ``port``, or $PORT or 8080, or a free one where that is taken. With ``as_json`` only the report goes to stdout.

    Raises ConfigurationError for a photo or a directory that cannot be used, and EmbeddedPostgresError.
    """
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = WIDTH
    try:
        return Run(Wishes(photos, keep, show_all, as_json, port), Home(directory), console).perform()
    except KeyboardInterrupt:
        console.print("Stopped before the worker had started.")
        return 1


class Run:
    """What the steps of one run share."""

    def __init__(self, wishes: Wishes, home: Home, console: Console) -> None:
        self._wishes = wishes
        self._home = home
        self._console = console
        self._storage = DiskStorage(home.storage)
        self._ticker = Ticker()

    def perform(self) -> int:
        inputs = prepare_inputs(self._wishes.photos)
        self._home.move_in()
        with own_server(self._home) as postgres:
            self._home.clear()
            database = new_database(postgres)
            for key, data in inputs.files.items():
                self._storage.put(key, data, "application/octet-stream")
            with connect(database, prepare=True) as connection:
                return self._play(postgres, Queries.on(connection), scene(inputs))

    def _play(self, postgres: EmbeddedPostgres, queries: Queries, acts: Sequence[Act]) -> int:
        environment = demo_environment(postgres.conninfo(DATABASE), self._home)
        settings = load_settings(environment)
        second_worker = SecondWorker(queries, environment, self._ticker.say)
        stage = Stage(queries, acts, second_worker, self._ticker.say)
        stage.set_up()
        with (
            closing(second_worker),
            logging_to(self._home.log, settings),
            working(settings, self._ticker) as (supervisor, ending),
        ):
            stage.begin()
            with served_on_loopback(settings, self._port(), supervisor) as page:
                show = partial(watch, stage, ending, display_on(self._console), self._ticker)
                progress = show()
                if ending.done():
                    return self._stopped_early(progress, ending.result())
                violations = find_violations(queries, max_paid_calls=settings.max_paid_calls)
                look = ways_to_look(postgres, page)
                status = self._tell(make_report(queries, stage, self._storage, violations, progress.seconds), look)
                if self._wishes.keep:
                    show(for_ever=True)
        return status

    def _port(self) -> int | None:
        """Where it is to be served, or None if nobody asked for it."""
        if self._wishes.port is None and not self._wishes.keep:
            return None
        return load_settings({"PORT": os.environ.get("PORT", "")}, port=self._wishes.port).port

    def _tell(self, report: Report, look: Mapping[str, str]) -> int:
        outcomes = [each.outcome for each in report.told]
        late = {each.outcome.user_id for each in report.told if each.member.act.late}
        write_contact_sheet(self._home.sheet, outcomes, self._storage, late)
        places = self._home.places()
        if self._wishes.as_json:
            print(json.dumps({**as_document(report), "places": places, "look": look}, indent=2), flush=True)
        else:
            print_report(self._console, report, show_all=self._wishes.show_all)
            print_list(self._console, "Where it lies", places)
        if self._wishes.keep:
            print_list(self._console, "It runs on, and works on whatever is enqueued; Ctrl-C stops it", look)
        return 1 if report.problems else 0

    def _stopped_early(self, progress: Progress, ending: Ending) -> int:
        final, total = progress.count(*FINAL), progress.total(progress.users)
        self._console.print(f"The worker ended ({ending.value}) when {final} of {total} jobs were done.")
        return 1


def ways_to_look(postgres: EmbeddedPostgres, page: str | None) -> dict[str, str]:
    """What one may do while the worker runs on."""
    pages = {} if page is None else {"dashboard": f"{page}/dashboard", "health": f"{page}/health"}
    return {**pages, "psql": postgres.psql_command(DATABASE), "enqueue": EXAMPLE}


__all__ = ["run_demo"]
