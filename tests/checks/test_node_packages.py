"""What tests install from npm is fixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.node_packages import PROJECTS


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_the_versions_are_fixed_and_say_nothing_of_where_they_came_from(project: Path):
    wanted = json.loads((project / "package.json").read_text())["dependencies"]
    locked = json.loads((project / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [name for name, package in locked.items() if "resolved" in package] == []
    assert [name for name, package in locked.items() if name and "integrity" not in package] == []


def test_the_engine_is_that_of_the_prisma_command_line():
    """tests/apps/schema_engine.mjs starts it in place of the native engine, which has the same version."""
    [tests] = [project for project in PROJECTS if project.name == "node"]
    locked = json.loads((tests / "package-lock.json").read_text())["packages"]
    engines, engine = "node_modules/@prisma/engines-version", "node_modules/@prisma/schema-engine-wasm"
    assert locked[engines]["version"] == locked[engine]["version"]
    versions = {package["version"] for name, package in locked.items() if name.endswith(("/prisma", "/adapter-pg"))}
    assert len(versions) == 1
