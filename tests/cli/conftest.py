"""The command line as a function: `cli("status", "--json")`, and as a process: `process("status")`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from generation_worker.cli.app import main
from generation_worker.config.settings import declarations
from tests.canaries.channels import shown_by
from tests.canaries.scanner import scanner
from tests.support import jobs
from tests.support.database import Connection, Database
from tests.support.populated import Population, populate

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that sets nothing, and a directory without a .env file."""
    for setting in declarations().values():
        for name in setting.names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(no_settings: None, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the test's database."""
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cli(settings: None, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        with scanner.allowing(*shown_by([str(argument) for argument in arguments])):
            captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run


@pytest.fixture
def process(settings: None) -> Command:
    """Runs a command as a process of its own."""

    def run(*arguments: object, stdin: str = "") -> Done:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "generation_worker", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def fleet(connection: Connection) -> None:
    """`local` may be named, and ada has 100 credits."""
    jobs.offer_local(connection)
    jobs.grant(connection)


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)
