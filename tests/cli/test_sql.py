"""``sql``: a statement as psql runs it."""

from __future__ import annotations

import subprocess

import pytest

from generation_worker.db.statements import quoted, statement_sources
from tests.cli.conftest import Command
from tests.sql.conftest import psql_program
from tests.support.database import SCHEMA, Connection, Database
from tests.support.jobs import enqueue, grant, offer_local

NOWHERE = "00000000-0000-0000-0000-000000000000"
CLAIM = {
    "worker": "w", "providers": "{local}", "priorities": "{0}", "positions": "{-infinity}", "ids": f"{{{NOWHERE}}}",
    "left_out": "{}", "rehearsed": NOWHERE, "slots": "5", "lease": "60", "max_attempts": "4",
}  # fmt: skip


def test_without_a_name_all_are_listed(cli: Command) -> None:
    assert cli("sql").out.split() == sorted(statement_sources())


def test_an_unknown_name(cli: Command) -> None:
    done = cli("sql", "nope")
    assert (done.status, done.err) == (2, "Error: There is no statement nope.\n       See generation-worker sql\n")


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("find_job", {"id": NOWHERE, "user": "ada"}),
        ("lanes", {"cap": "10"}),
        ("claim_jobs", CLAIM),
        ("attempts_within_bounds", {"most": "5"}),
    ],
)
def test_psql_runs_what_is_printed(
    cli: Command, database: Database, connection: Connection, name: str, variables: dict[str, str]
) -> None:
    offer_local(connection)
    grant(connection)
    enqueue(connection)
    text = cli("sql", name).out
    assert f"{quoted(SCHEMA)}.generation_job" in text
    options = [f"--set={variable}={value}" for variable, value in variables.items()]
    command = [psql_program(), "-Xq", "--set=ON_ERROR_STOP=1", *options, database.direct_conninfo]
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
