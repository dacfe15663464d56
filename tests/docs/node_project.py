"""The files that docs/nextjs.md shows, as a project that Node runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.node_packages import NODE, install
from tests.docs.documents import ROOT, blocks
from tests.support.processes import clean_environment

PAGE = "docs/nextjs.md"
OURS = ROOT / "tests" / "node"
LANGUAGES = ("ts", "tsx", "prisma")
NO_DOWNLOAD = {"CHECKPOINT_DISABLE": "1", "PRISMA_HIDE_UPDATE_MESSAGE": "1", "PRISMA_SCHEMA_ENGINE_BINARY": str(NODE)}
"""Prisma gets the engine of `prisma migrate` before it looks at what it is to do; `generate` has no use for it."""


@dataclass(frozen=True)
class NodeProject:
    """A directory with the page's files, our tests beside them, and what npm has installed."""

    directory: Path

    def run(self, *command: str, **environment: str) -> str:
        """Run Node with these arguments; fails with what it said, which is returned."""
        done = subprocess.run(
            [str(NODE), *command],
            check=False,
            cwd=self.directory,
            env=clean_environment(NO_COLOR="1", **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def test(self, name: str, environment: Mapping[str, str]) -> None:
        """Run one of our files with Node's test runner. One in which nothing is tried fails."""
        said = self.run("--import", "./alias.mjs", "--test", "--test-reporter=tap", f"{name}.test.ts", **environment)
        tried = re.search(r"(?m)^# pass (\d+)$", said)
        assert tried is not None, said
        assert int(tried[1]) >= (self.directory / f"{name}.test.ts").read_text().count("\ntest("), said


def files() -> dict[str, str]:
    """The page's files by name: each block begins with a comment that has it."""
    found: dict[str, str] = {}
    for block in blocks(PAGE):
        if block.language in LANGUAGES:
            name = re.fullmatch(r"// ([\w./\[\]-]+)", block.first_line)
            assert name is not None, f"{block.place}: begins with no file's name"
            assert name[1] not in found, f"{block.place}: there are two of {name[1]}"
            found[name[1]] = block.text
    return found


def make(directory: Path) -> NodeProject:
    """Write the project, and have Prisma make its client."""
    directory.mkdir()
    (directory / "node_modules").symlink_to(install())
    for name, text in files().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    for path in OURS.iterdir():
        shutil.copy(path, directory)
    (directory / "session.ts").rename(directory / "lib" / "session.ts")
    project = NodeProject(directory)
    project.run("node_modules/prisma/build/index.js", "generate", **NO_DOWNLOAD)
    return project
