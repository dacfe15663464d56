"""The scripts of other people are what their packages hold, in the versions that are named beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from generation_worker.web.pages.render import DIRECTORY
from scripts.node_packages import SOURCE, InstallFailed, install

VENDOR = DIRECTORY / "vendor"


class Vendored(NamedTuple):
    file: str
    package: str
    version: str
    of_package: str
    licence: str


def named() -> list[Vendored]:
    """The table of the note beside them."""
    row = re.compile(r"\| `(.+?)` \| `(.+?)` (\S+) \| `(.+?)` \| \w+, `(.+?)` \|")
    return [Vendored(*found.groups()) for found in row.finditer((VENDOR / "README.md").read_text())]


@pytest.fixture(scope="module")
def packages() -> Path:
    try:
        return install()
    except InstallFailed as problem:
        pytest.skip(f"NOT RUN: {problem}")


def test_each_file_is_named():
    there = {path.name for path in VENDOR.iterdir()} - {"README.md"}
    assert there == {each.file for each in named()} | {each.licence for each in named()}


def test_they_are_the_versions_that_the_lock_has():
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    assert {each.package: each.version for each in named()} == {each.package: wanted[each.package] for each in named()}


def test_they_are_the_packages_files(packages: Path):
    for each in named():
        package = packages / each.package
        assert json.loads((package / "package.json").read_text())["version"] == each.version
        assert (VENDOR / each.file).read_bytes() == (package / each.of_package).read_bytes(), each.file
        assert (VENDOR / each.licence).read_bytes() == (package / "LICENSE").read_bytes(), each.licence


def test_they_fetch_nothing_from_elsewhere():
    """A comment may name its author's page."""
    for each in named():
        found = set(re.findall(r"https?://[\w./-]+", (VENDOR / each.file).read_text()))
        assert found <= {"https://github.com/leeoniya/uPlot"}, each.file
