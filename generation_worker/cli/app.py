"""The command line ``generation-worker``: the table of its commands, and ``main``.

A command's module is imported when the command is called or its own help is shown, so ``--help`` loads none of them
and each command loads only what it needs. Modules of commands have ordinary imports.

Exit status: 0 done, 1 the command failed, 2 wrong usage or configuration. Data goes to stdout, errors to stderr.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer import Abort, TyperException
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from generation_worker import __version__
from generation_worker.cli.output import report_usage

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
"""For a command that hands its arguments on to another program."""


class CommandEntry(NamedTuple):
    """A command in the table: its place in this package, as module:attribute, and its line in ``--help``."""

    target: str
    line: str
    context_settings: dict[str, Any] | None = None


COMMANDS = {
    "run": CommandEntry("service:run", "Work on jobs until stopped (SIGTERM or Ctrl-C)."),
    "demo": CommandEntry("demo:demo", "Watch a worker make pictures, on a machine that has nothing set up."),
    "migrate": CommandEntry("service:migrate", "Bring the database's tables up to date (over DIRECT_URL, if set)."),
    "enqueue": CommandEntry("enqueue:enqueue", "Enqueue a job; prints its id."),
    "status": CommandEntry("status:status", "Show waiting and running jobs, workers and failures."),
    "job": CommandEntry("jobs:app", "Look at one job, cancel it, try it again, put it first."),
    "dead": CommandEntry("jobs:dead_app", "Look at jobs that failed for good, and replay them."),
    "credits": CommandEntry("credits:app", "Grant and correct credits, look at an account, audit all of them."),
    "doctor": CommandEntry("doctor:doctor", "Check everything that a worker needs, with a remedy for each fault."),
    "config": CommandEntry("fleet:app", "Show the settings, and change those of the whole fleet."),
    "pause": CommandEntry("fleet:pause", "Start no more jobs, or none of one provider, kind or user."),
    "resume": CommandEntry("fleet:resume", "End a pause; pauses of larger or smaller extents stay."),
    "audit": CommandEntry("access:audit", "Show what people and keys have changed, the latest first."),
    "token": CommandEntry("access:app", "Make keys of the HTTP API, list them, take them back."),
    "webhook": CommandEntry("webhooks:app", "Webhooks to the app: endpoints, and what was sent to them."),
    "psql": CommandEntry("sql:psql", "Open psql on the database (over DIRECT_URL, if set).", PASS_ON),
    "sql": CommandEntry("sql:sql", "Print a statement as psql runs it, with its parameters as variables."),
}
"""All commands, in the order of ``--help``."""

LEAVES_A_TRACE = "run"
"""The command whose unexpected errors are raised: their traceback belongs into the worker's log."""

app = typer.Typer(
    help="Turns rows of a Postgres table into images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments``, by default the process's; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        status = command_line().main(given, prog_name="generation-worker", standalone_mode=False)
    except (TyperException, Abort) as error:
        return report_usage(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - whatever happens, a person reads what and not where
        from generation_worker.cli.shell import report  # noqa: PLC0415 - it knows the errors of every layer

        return report(error, as_json=as_json, expose=given[:1] == [LEAVES_A_TRACE])
    return status or 0


def command_line() -> TyperGroup:
    """All commands, none of them loaded."""
    group = get_group(app)
    for name, entry in COMMANDS.items():
        group.add_command(LazyCommand(name, entry))
    return group


class LazyCommand(TyperCommand):
    """Stands in the list of commands; what it stands for is imported when it is called."""

    def __init__(self, name: str, entry: CommandEntry) -> None:
        super().__init__(name, help=entry.line)
        self._entry = entry

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself, a group if its module declares one."""
        module, _, attribute = self._entry.target.partition(":")
        target = getattr(import_module(f"generation_worker.cli.{module}"), attribute)
        around = typer.Typer()
        if isinstance(target, typer.Typer):
            around.add_typer(target, name=self.name, help=self.help)
        else:
            around.command(self.name, context_settings=self._entry.context_settings)(target)
        loaded = get_group(around).commands[str(self.name)]
        assert isinstance(loaded, (TyperCommand, TyperGroup))
        return loaded

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """The context of the command itself, so that its options are parsed and it is what runs."""
        return self.load().make_context(*arguments, **extra)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"generation-worker {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
