"""``demo``: everything to see, with a database of its own."""

from pathlib import Path
from typing import Annotated

import typer

from generation_worker.demo import run_demo


def demo(
    photo: Annotated[list[Path] | None, typer.Option(help="A photo of yours to put in; may be given again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the worker running afterwards, until Ctrl-C.")] = False,
    directory: Annotated[Path, typer.Option(help="Where the pictures and the database go.")] = Path(".demo"),
    show_all: Annotated[bool, typer.Option("--all", help="Report every job.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Serve the dashboard and the health page there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> int:
    """Watch a worker make pictures, on a machine that has nothing set up."""
    return run_demo(photos=photo or [], keep=keep, directory=directory, show_all=show_all, as_json=as_json, port=port)
