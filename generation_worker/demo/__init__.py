"""``generation-worker demo``: a scene of half a minute with real parts, and a report on its jobs and credits.

``run_demo`` starts an embedded server and a worker, plays the scene, compares the outcome with what is expected, and
reports.
"""

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
from generation_worker.db.statements import SCHEMA, load_statements
from generation_worker.demo.display import Display, NewsFeed, display_on
from generation_worker.demo.report import (
    DemoReport,
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

MARKER = ".generation-worker-demo"
"""A file that marks a directory of the demo: each run begins with removing the files of the run before."""
DATABASE = "demo"
UNFINISHED = "half_migrated"
LOOPBACK = "127.0.0.1"
REFRESH_EVERY = 0.2
MOST_SECONDS = 180.0
"""Seconds after which a scene that does not end is given up."""
WIDTH = 150
"""Columns without a terminal."""
__all__ = ["run_demo"]


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of the demo, which hold the files of the latest run."""

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

    def prepare(self) -> None:
        """Make the directory, or reuse it. Raises ConfigurationError if it has other things in it."""
        taken = self.directory.exists() and not (self.directory / MARKER).exists()
        if taken and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise ConfigurationError([f"--directory: {self.directory} has other things in it; name a new one"])
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / MARKER).touch()

    def clear(self) -> None:
        """Remove the files of the run before. Call it only while the server is ours."""
        shutil.rmtree(self.storage, ignore_errors=True)
        for path in (self.sheet, self.log):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command."""

    photos: Sequence[Path]
    keep: bool
    show_all: bool
    as_json: bool
    port: int | None


class DemoRun:
    """One run of the demo, from an empty directory to a report."""

    def __init__(self, options: DemoOptions, home: Home, console: Console) -> None:
        self._options = options
        self._home = home
        self._console = console
        self._storage = DiskStorage(home.storage)
        self._news = NewsFeed()

    def perform(self) -> int:
        inputs = prepare_inputs(self._options.photos)
        self._home.prepare()
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
        second_worker = SecondWorker(queries, environment, self._news.announce)
        stage = Stage(queries, acts, second_worker, self._news.announce)
        stage.set_up()
        with (
            closing(second_worker),
            logging_to(self._home.log, settings),
            working(settings, self._news) as (supervisor, ending),
        ):
            stage.begin()
            with served_on_loopback(settings, self._port(), supervisor) as page:
                show = partial(watch, stage, ending, display_on(self._console), self._news)
                progress = show()
                if ending.done():
                    return self._stopped_early(progress, ending.result())
                violations = find_violations(queries, max_paid_calls=settings.max_paid_calls)
                look = next_steps(postgres, page)
                status = self._report(make_report(queries, stage, self._storage, violations, progress.seconds), look)
                if self._options.keep:
                    show(for_ever=True)
        return status

    def _port(self) -> int | None:
        """The port to serve on; None without ``keep`` and ``port``."""
        if self._options.port is None and not self._options.keep:
            return None
        return load_settings({"PORT": os.environ.get("PORT", "")}, port=self._options.port).port

    def _report(self, report: DemoReport, look: Mapping[str, str]) -> int:
        outcomes = [each.outcome for each in report.results]
        late = {each.outcome.user_id for each in report.results if each.job.act.late}
        write_contact_sheet(self._home.sheet, outcomes, self._storage, late)
        places = self._home.places()
        if self._options.as_json:
            print(json.dumps({**as_document(report), "places": places, "look": look}, indent=2), flush=True)
        else:
            print_report(self._console, report, show_all=self._options.show_all)
            print_list(self._console, "Where it is", places)
        if self._options.keep:
            print_list(
                self._console, "The worker goes on and works on every job that is enqueued; Ctrl-C stops it", look
            )
        return 1 if report.problems else 0

    def _stopped_early(self, progress: Progress, ending: Ending) -> int:
        final, total = progress.count(*FINAL), progress.total(progress.users)
        self._console.print(f"The worker ended ({ending.value}) when {final} of {total} jobs were done.")
        return 1


@contextmanager
def own_server(home: Home) -> Generator[EmbeddedPostgres]:
    """The server, running during the block. Raises EmbeddedPostgresError, also while another demo uses it."""
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
def working(settings: Settings, news: NewsFeed) -> Generator[tuple[Supervisor, Future[Ending]]]:
    """The worker, claiming during the block. Ctrl-C drains it; then the future has its ending."""
    events = Events()
    log_events(events, settings.log_level)
    events.subscribe(news.observe)
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
            if not ending.done():  # a second request would make it hurry
                supervisor.request_stop()
            wait([ending])


@contextmanager
def logging_to(path: Path, settings: Settings) -> Generator[None]:
    """Write the worker's log to a file during the block: the terminal shows the progress."""
    with path.open("w", encoding="utf-8") as file:
        log.configure(settings.log_level, "json", file)
        log.hide_secrets(settings.secret_values())
        try:
            yield
        finally:
            log.configure(settings.log_level, settings.log_format)


@contextmanager
def served_on_loopback(settings: Settings, wanted: int | None, supervisor: Supervisor) -> Generator[str | None]:
    """Serve the worker on the ``wanted`` port of loopback, or on a free one if it is taken; yields the address.

    Nothing is served, and None is yielded, if ``wanted`` is None.
    """
    with ExitStack() as stack:
        for port in [] if wanted is None else [wanted or _free_port(), _free_port(), _free_port()]:
            try:
                stack.enter_context(served(settings.model_copy(update={"port": port}), supervisor, Events()))
            except ConfigurationError:
                continue  # taken
            yield f"http://{LOOPBACK}:{port}"
            return
        yield None


def watch(
    stage: Stage, ending: Future[Ending], display: Display, news: NewsFeed, *, for_ever: bool = False
) -> Progress:
    """Play and show the scene until it is over, or until the worker ends."""
    with display:
        while True:
            progress = stage.step()
            display.show(progress, news.take())
            over = (progress.done or progress.seconds > MOST_SECONDS) and not for_ever
            if over or ending.done():
                return progress
            time.sleep(REFRESH_EVERY)


def run_demo(
    *, photos: Sequence[Path], keep: bool, directory: Path, show_all: bool, as_json: bool, port: int | None
) -> int:
    """Play the scene and report; the exit status: 0 if everything was as expected.

    ``keep`` leaves the worker running until Ctrl-C; then the dashboard and the health page are served, on loopback, on
    ``port``, or $PORT or 8080, or a free one where that is taken. With ``as_json`` only the report goes to stdout.

    Raises ConfigurationError for a photo or a directory that cannot be used, and EmbeddedPostgresError.
    """
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = WIDTH
    try:
        return DemoRun(DemoOptions(photos, keep, show_all, as_json, port), Home(directory), console).perform()
    except KeyboardInterrupt:
        console.print("Stopped before the worker had started.")
        return 1


def next_steps(postgres: EmbeddedPostgres, page: str | None) -> dict[str, str]:
    """Commands and addresses to use while the worker goes on."""
    pages = {} if page is None else {"dashboard": f"{page}/dashboard", "health": f"{page}/health"}
    example = load_statements()["demo_enqueue"].decode().partition("\n")[2].strip()
    return {**pages, "psql": postgres.psql_command(DATABASE, schema=SCHEMA), "enqueue": f"{example};"}


def _run_written(queries: Queries, statement: str, **values: str) -> None:
    """Run what `statement` returns: a statement with names in it, which cannot be parameters."""
    for row in queries.rows(statement, **values):
        with queries.connection() as connection:
            connection.execute(row["statement"])


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return probe.getsockname()[1]
