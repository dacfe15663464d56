"""One run of the demo, from an empty directory to a report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from generation_worker.config import load_settings
from generation_worker.db.audit import audit
from generation_worker.db.embedded import EmbeddedPostgres
from generation_worker.db.pool import connect
from generation_worker.demo.contact_sheet import write_contact_sheet
from generation_worker.demo.display import display_on
from generation_worker.demo.home import DATABASE, Home, new_database, own_server
from generation_worker.demo.inputs import prepare_inputs
from generation_worker.demo.play import demo_environment, logging_to, served_on_loopback, watch, working
from generation_worker.demo.report import Report, make_report
from generation_worker.demo.scene import Act, scene
from generation_worker.demo.second_worker import SecondWorker
from generation_worker.demo.stage import FINAL, Progress, Stage
from generation_worker.demo.tables import as_document, print_list, print_report
from generation_worker.demo.ticker import Ticker
from generation_worker.storage.disk import DiskStorage
from generation_worker.worker.settings import Ending

Connection = psycopg.Connection[Any]

WIDTH = 150
"""Columns where there is no terminal to ask."""
EXAMPLE = """SELECT * FROM enqueue_generation('text_to_image', 'ada', '{"prompt": "a red kite over the sea"}');"""


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
                return self._play(postgres, connection, scene(inputs))

    def _play(self, postgres: EmbeddedPostgres, connection: Connection, acts: Sequence[Act]) -> int:
        environment = demo_environment(postgres.conninfo(DATABASE), self._home)
        settings = load_settings(environment)
        second_worker = SecondWorker(connection, environment, self._ticker.say)
        stage = Stage(connection, acts, second_worker, self._ticker.say)
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
                violations = audit(connection, max_paid_calls=settings.max_paid_calls)
                look = ways_to_look(postgres, page)
                status = self._tell(make_report(connection, stage, self._storage, violations, progress.seconds), look)
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
