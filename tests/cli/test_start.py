"""What every command has in common: quick to start, clear when something is wrong, silent about secrets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from psycopg.conninfo import conninfo_to_dict

from generation_worker import __version__
from generation_worker.cli.app import COMMANDS, LazyCommand, command_line
from generation_worker.db import migrations
from tests.cli.conftest import ROOT, Command
from tests.support.database import SCHEMA, Connection, Database

HEAVY = {"fastapi", "uvicorn", "sqlalchemy", "alembic", "boto3", "botocore", "google", "replicate", "PIL"}
OF_A_COMMAND = {"psycopg", "pydantic", "generation_worker.config", "generation_worker.db"}
"""What ``--help`` can do without."""
LOADED = """
import sys
from generation_worker.cli.app import main
status = main(sys.argv[1:])
print("loaded:", sorted(set(sys.modules) & set(%r)), file=sys.stderr)
sys.exit(status)
"""
USED_OFTEN = [
    ["status"],
    ["status", "--json"],
    ["enqueue", "text_to_image", "ada", "--prompt", "a kite"],
    ["dead", "list"],
    ["credits", "show", "ada"],
    ["config"],
]


@pytest.mark.usefixtures("settings", "fleet")
@pytest.mark.parametrize("arguments", USED_OFTEN, ids=" ".join)
def test_looking_and_enqueueing_load_nothing_heavy(arguments: list[str]):
    assert loaded(HEAVY, *arguments) == "loaded: []"


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_loads_no_command(arguments: list[str]):
    modules = {f"generation_worker.cli.{entry.target.partition(':')[0]}" for entry in COMMANDS.values()}
    assert loaded(HEAVY | OF_A_COMMAND | modules, *arguments) == "loaded: []"


def loaded(watched: set[str], *arguments: str) -> str:
    """Which of the watched modules a process has loaded that ran a command."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED % watched, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_and_the_help_of_a_command_say_the_same(name: str):
    listed = command_line().commands[name]
    assert isinstance(listed, LazyCommand)
    assert str(listed.load().help).startswith(str(listed.help).removesuffix("."))


def test_version(process: Command):
    assert process("--version").out == f"generation-worker {__version__}\n"


def test_help_lists_the_commands(process: Command):
    done = process("--help")
    assert done.status == 0
    for name in ("run", "demo", "migrate", "enqueue", "status", "job", "dead", "credits", "doctor", "config"):
        assert f" {name} " in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["status", "--bogus"], "No such option: --bogus"),
        (["enqueue", "text_to_image"], "Missing argument 'USER'"),
        (["status", "--watch", "--json"], "leave out --watch"),
        (["credits", "grant", "ada", "0"], "AMOUNT"),
        (["dead", "list", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage(cli: Command, arguments: list[str], message: str):
    done = cli(*arguments)
    assert (done.status, done.out.split("{")[0]) == (2, "")
    assert message in done.err
    assert "--help" in done.err


@pytest.mark.parametrize("arguments", [[], ["dead"], ["job"], ["credits"]])
def test_a_group_alone_shows_its_help(cli: Command, arguments: list[str]):
    done = cli(*arguments)
    assert (done.status, done.err) == (2, "")
    assert "Usage: generation-worker" in done.out


def test_errors_are_json_too_when_json_is_asked_for(cli: Command):
    done = cli("job", "show", "ffff", "--json")
    assert done.status == 1
    assert done.json == {
        "error": {
            "code": "job_not_found",
            "message": "There is no job ffff.",
            "hint": "Final jobs are deleted after the retention.",
        }
    }
    assert done.err == "Error: There is no job ffff.\n       Final jobs are deleted after the retention.\n"


@pytest.mark.parametrize("arguments", [["status"], ["migrate"], ["config", "set", "seconds_per_credit", "5"]])
def test_without_an_address_the_variable_is_named(cli: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]):
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DIRECT_URL")
    done = cli(*arguments)
    assert done.status == 2
    assert done.err.startswith("Error: DATABASE_URL is not set")


def test_every_fault_of_the_configuration_is_printed(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("WORKER_CONCURRENCY", "0")
    done = cli("status")
    assert done.status == 2
    assert "PORT must be" in done.err
    assert "WORKER_CONCURRENCY must be" in done.err


def test_a_database_that_does_not_answer(cli: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:s3cret-word@127.0.0.1:1/app")
    monkeypatch.delenv("DIRECT_URL")
    done = cli("status", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "database_unavailable")
    assert "Check DATABASE_URL" in done.err
    assert "s3cret-word" not in done.out + done.err


def test_a_password_that_is_refused_is_not_shown(process: Command, monkeypatch: pytest.MonkeyPatch, database: Database):
    address = conninfo_to_dict(database.direct_conninfo)
    url = f"postgresql://{address['user']}:s3cret-word@{address['host']}:{address['port']}/{address['dbname']}"
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DIRECT_URL", url)
    for arguments in (["status"], ["migrate"], ["config"]):
        done = process(*arguments)
        assert "password authentication failed" in done.err
        assert "s3cret-word" not in done.out + done.err
        assert "Traceback" not in done.err


def test_a_database_without_tables(cli: Command, monkeypatch: pytest.MonkeyPatch, empty_database: Database):
    monkeypatch.setenv("DATABASE_URL", empty_database.conninfo)
    done = cli("status")
    assert done.status == 2
    assert done.err == f"Error: The schema {SCHEMA} has no tables yet.\n       Run generation-worker migrate\n"


def test_a_database_that_is_behind(cli: Command, connection: Connection):
    connection.execute("UPDATE generation_worker_version SET version_num = '0000'")
    done = cli("status")
    assert done.status == 2
    assert f"The schema {SCHEMA} is at revision 0000; this version needs {migrations.head()}." in done.err
    assert "Run generation-worker migrate" in done.err


def test_a_database_that_is_ahead_is_asked_with_a_notice(cli: Command, connection: Connection):
    """An old version still answers while a new one is being rolled out."""
    connection.execute("UPDATE generation_worker_version SET version_num = '9999'")
    done = cli("status", "--json")
    assert (done.status, done.json["jobs"]["pending"]["count"]) == (0, 0)
    assert done.err.startswith(f"Notice: the schema {SCHEMA} is at revision 9999, newer than this version knows")
    assert "generation-worker migrate" in done.err


def test_tables_that_are_missing_are_not_a_traceback(cli: Command, connection: Connection):
    connection.execute("ALTER TABLE worker_process RENAME TO elsewhere")
    try:
        done = cli("status")
    finally:
        connection.execute("ALTER TABLE elsewhere RENAME TO worker_process")
    assert done.status == 2
    assert f'relation "{SCHEMA}.worker_process" does not exist' in done.err
    assert "Run generation-worker migrate" in done.err


def test_what_nobody_foresaw_is_one_line_with_its_place(cli: Command, monkeypatch: pytest.MonkeyPatch):
    def fail(**_: object) -> None:
        raise LookupError("postgresql://app:s3cret-word@host/app")

    monkeypatch.setattr("generation_worker.cli.shell.load_settings", fail)
    done = cli("status", "--json")
    assert (done.status, done.json["error"]["code"]) == (1, "internal_error")
    assert done.err.startswith(
        "Error: This should not happen: LookupError: postgresql://app:***@host/app (test_start.py"
    )


def test_a_worker_that_breaks_leaves_its_trace(cli: Command, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> int:
        raise LookupError

    monkeypatch.setattr("generation_worker.wiring.run", fail)
    with pytest.raises(LookupError):
        cli("run")
