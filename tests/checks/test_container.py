"""What Dockerfile and railway.toml promise, read from them. `make test-image` carries the Dockerfile out."""

from __future__ import annotations

import json
import tomllib
from fnmatch import fnmatch

import pytest

from generation_worker.config import load_settings
from generation_worker.web.api.fleet import health_router
from scripts.image import ROOT, Stage, stages

BUILD, IMAGE = stages()
TO_STOP_THE_REST = 15
"""Seconds after SHUTDOWN_GRACE in which a worker hands back what still runs and writes what has ended."""
RAILWAY = tomllib.loads((ROOT / "railway.toml").read_text())


@pytest.mark.parametrize("stage", [BUILD, IMAGE])
def test_everything_from_a_package_index_is_checked_against_its_hash(stage: Stage) -> None:
    installs = [part for run in stage.all("RUN") for part in run.split("&&") if " install " in part and "pip" in part]
    assert all(
        "--no-deps --require-hashes -r locks/" in install or "--no-deps dist/" in install for install in installs
    )


def test_the_image_has_no_embedded_server() -> None:
    assert any("locks/image.txt" in run for run in BUILD.all("RUN"))
    assert not any("locks/run.txt" in run or "[demo]" in run for run in BUILD.all("RUN"))


def test_only_what_was_built_is_in_the_image() -> None:
    assert [copy.split()[0] for copy in IMAGE.all("COPY")] == ["--from=build"]
    assert BUILD.base == IMAGE.base, "a virtual environment works with the Python that made it"
    assert BUILD.base.endswith("-slim")


def test_it_runs_as_nobody_in_particular() -> None:
    assert IMAGE.all("USER") == ["10001:10001"]
    instructions = [name for name, _ in IMAGE.instructions]
    assert instructions.index("RUN") < instructions.index("USER") < instructions.index("ENTRYPOINT")


def test_the_worker_is_process_1_and_told_to_stop_by_sigterm() -> None:
    assert [json.loads(IMAGE.only(name)) for name in ("ENTRYPOINT", "CMD")] == [["generation-worker"], ["run"]]
    assert IMAGE.only("STOPSIGNAL") == "SIGTERM"


def test_the_health_check_asks_for_what_the_worker_serves() -> None:
    command = json.loads(IMAGE.only("HEALTHCHECK").partition(" CMD ")[2])
    compile(command[-1], "HEALTHCHECK", "exec")
    assert command[:2] == ["python", "-c"]
    assert "/health/live" in command[2]
    assert {"/health/live", RAILWAY["deploy"]["healthcheckPath"]} <= routes()
    assert str(load_settings({}).port) in command[2]
    assert str(load_settings({}).port) == IMAGE.only("EXPOSE")


def test_what_is_copied_is_not_ignored() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for copy in BUILD.all("COPY") for source in copy.split()[:-1]]
    assert {name for source in sources for name in allowed if fnmatch(source.split("/")[0], name)} == set(allowed)
    assert all((ROOT / source).exists() for source in sources)


def test_railway_does_what_the_image_does() -> None:
    assert RAILWAY["build"] == {"builder": "DOCKERFILE", "dockerfilePath": "Dockerfile"}
    assert RAILWAY["deploy"]["startCommand"].split() == json.loads(IMAGE.only("ENTRYPOINT")) + json.loads(
        IMAGE.only("CMD")
    )
    assert RAILWAY["deploy"]["preDeployCommand"] == ["generation-worker migrate"]


def test_a_worker_has_stopped_before_it_is_killed() -> None:
    draining = int(RAILWAY["deploy"]["drainingSeconds"])
    assert load_settings({}).shutdown_grace + TO_STOP_THE_REST <= draining
    assert f'"drainingSeconds": {draining},' in (ROOT / "deploy" / "railway.py").read_text()


def routes() -> set[str]:
    return {getattr(route, "path", "") for route in health_router.routes}
