"""``status``: the whole queue at a glance, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.database import database
from generation_worker.cli.options import Json
from generation_worker.cli.output import print_json

if TYPE_CHECKING:
    from generation_worker.cli.glance import Glance
    from generation_worker.db.insights import Insights


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Show what waits, what runs, who works and what fails."""
    if watch and as_json:
        raise typer.BadParameter("--json prints one document; leave out --watch, or call it again and again")
    with database() as own:
        from generation_worker.cli.glance import look  # noqa: PLC0415 - not for --help
        from generation_worker.db.insights import Insights  # noqa: PLC0415

        insights = Insights(own)
        if watch:
            _watch(insights, interval)
        elif as_json:
            print_json(look(insights).as_json())
        else:
            look(insights).show()


def _watch(insights: Insights, interval: float) -> None:
    try:
        if sys.stdout.isatty():
            _refresh(insights, interval)
        else:
            _repeat(interval, lambda: typer.echo(f"{datetime.now().astimezone():%H:%M:%S}  {_line(insights)}"))
    except KeyboardInterrupt:
        pass  # the way to end it


def _refresh(insights: Insights, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - only here
    from rich.text import Text  # noqa: PLC0415

    with Live(auto_refresh=False, screen=True) as live:

        def show() -> None:
            glance = _patient_look(insights)
            live.update(Text(glance) if isinstance(glance, str) else glance.renderable(), refresh=True)

        _repeat(interval, show)


def _line(insights: Insights) -> str:
    glance = _patient_look(insights)
    return glance if isinstance(glance, str) else glance.line()


def _repeat(interval: float, show: Callable[[], None]) -> None:
    while True:
        show()
        sys.stdout.flush()
        time.sleep(interval)


def _patient_look(insights: Insights) -> Glance | str:
    """A look, or why there is none: whoever watches a restart wants to see its end."""
    from psycopg import OperationalError  # noqa: PLC0415 - not for --help

    from generation_worker.cli.glance import look  # noqa: PLC0415

    try:
        return look(insights)
    except OperationalError as error:
        return f"the database does not answer: {' '.join(str(error).split())}"
