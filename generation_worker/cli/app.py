"""All commands, in the order in which ``--help`` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from generation_worker import __version__
from generation_worker.cli import (
    audit,
    config,
    credits,  # noqa: A004
    dead,
    demo,
    doctor,
    enqueue,
    job,
    migrate,
    pause,
    run,
    status,
    token,
    webhook,
)

app = typer.Typer(
    help="Turns rows of a Postgres table into images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"generation-worker {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("migrate")(migrate.migrate)
app.command("enqueue")(enqueue.enqueue)
app.command("status")(status.status)
app.add_typer(job.app, name="job")
app.add_typer(dead.app, name="dead")
app.add_typer(credits.app, name="credits")
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("audit")(audit.audit)
app.add_typer(token.app, name="token")
app.add_typer(webhook.app, name="webhook")
