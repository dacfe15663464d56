"""All commands, in the order in which ``--help`` lists them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from generation_worker import __version__
from generation_worker.cli import access as audit
from generation_worker.cli import access as token
from generation_worker.cli import credits as credit
from generation_worker.cli import enqueue, sql, status
from generation_worker.cli import fleet as config
from generation_worker.cli import fleet as pause
from generation_worker.cli import jobs as dead
from generation_worker.cli import jobs as job
from generation_worker.cli import service as demo
from generation_worker.cli import service as doctor
from generation_worker.cli import service as migrate
from generation_worker.cli import service as run
from generation_worker.cli import webhooks as webhook
from generation_worker.cli.shell import report

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
app.add_typer(dead.dead_app, name="dead")
app.add_typer(credit.app, name="credits")
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("audit")(audit.audit)
app.add_typer(token.app, name="token")
app.add_typer(webhook.app, name="webhook")
app.command("psql", context_settings=sql.PASS_ON)(sql.psql)
app.command("sql")(sql.sql)


# The command line: ``generation-worker``.
#
# Exit status: 0 done, 1 the thing that was asked for failed, 2 wrong usage or configuration. Data goes to stdout,
# errors to stderr. Whatever is heavy is imported by the command that needs it, so that looking at a queue takes no
# time.


LEAVES_A_TRACE = "run"
"""The command whose unexpected end belongs into its log, with the way that led there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments``, by default the process's; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = get_command(app).main(given, prog_name="generation-worker", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - whatever happens, a person reads what and not where
        return report(error, as_json="--json" in given, expose=given[:1] == [LEAVES_A_TRACE])
    return status or 0
