from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from generation_worker import wiring
from generation_worker.config import Settings
from tests.cli.conftest import Command
from tests.support import jobs
from tests.support.database import Connection


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    """What the worker would have been started with."""
    starts: list[tuple[Settings, bool]] = []

    def run(settings: Settings, *, until_empty: bool = False) -> int:
        starts.append((settings, until_empty))
        return 1

    monkeypatch.setattr(wiring, "run", run)
    return starts


def test_options_win_over_the_environment(
    cli: Command, told: list[tuple[Settings, bool]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORKER_CONCURRENCY", "3")
    arguments = ["--concurrency", 7, "--port", 0, "--log-level", "debug", "--log-format", "json", "--until-empty"]
    assert cli("run", *arguments).status == 1
    [(settings, until_empty)] = told
    assert (settings.concurrency, settings.port, settings.log_level, settings.log_format) == (7, 0, "debug", "json")
    assert until_empty
    cli("run")
    assert (told[1][0].concurrency, told[1][1]) == (3, False)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--concurrency", "0"], "WORKER_CONCURRENCY"),
        (["--port", "70000"], "PORT"),
        (["--log-level", "x"], "LOG_LEVEL"),
    ],
)
def test_an_option_that_is_wrong_is_named(
    cli: Command, told: list[tuple[Settings, bool]], arguments: list[str], name: str
):
    done = cli("run", *arguments)
    assert (done.status, told) == (2, [])
    assert f"{name} must be" in done.err


@pytest.mark.usefixtures("fleet")
def test_until_empty_does_what_waits_and_ends(
    process: Command, connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("STORAGE_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("FETCH_CACHE_DIR", str(tmp_path))
    job = jobs.enqueue(connection)
    done = process("run", "--until-empty", "--port", 0, "--concurrency", 1)
    assert done.status == 0, done.err
    assert jobs.job(connection, job)["status"] == "completed"


def test_demo_hands_its_options_on(cli: Command, monkeypatch: pytest.MonkeyPatch):
    given: dict[str, Any] = {}

    def run_demo(**options: Any) -> int:
        given.update(options)
        return 0

    monkeypatch.setattr("generation_worker.cli.demo.run_demo", run_demo)
    assert cli("demo", "--keep", "--photo", "a.jpg", "--port", 9, "--all", "--json").status == 0
    assert given == {
        "photos": [Path("a.jpg")],
        "keep": True,
        "directory": Path(".demo"),
        "show_all": True,
        "port": 9,
        "as_json": True,
    }
