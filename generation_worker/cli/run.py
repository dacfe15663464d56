"""``run``: a worker."""

from __future__ import annotations

from typing import Annotated

import typer

from generation_worker.cli.settings import load


def run(
    concurrency: Annotated[int | None, typer.Option(help="Jobs at once; WORKER_CONCURRENCY.")] = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing can be done now.")] = False,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP server; PORT.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical; LOG_LEVEL.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json, console or auto; LOG_FORMAT.")] = None,
) -> int:
    """Work on jobs until told to stop (SIGTERM or Ctrl-C)."""
    settings = load(concurrency=concurrency, port=port, log_level=log_level, log_format=log_format)
    from generation_worker import wiring  # noqa: PLC0415 - heavy

    return wiring.run(settings, until_empty=until_empty)
