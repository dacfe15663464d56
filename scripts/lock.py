"""Writes locks/: every installed package with the hashes of its files. Arguments, such as --upgrade, are passed to uv.

The first line of each file has the hash of the requirements it was made from, so that a test without a network can
check that it still matches pyproject.toml.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
UV = ROOT / ".cache" / "uv"

COMPILE = ("pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes")
SILENT = ("--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock")
LOCKS = {
    "run": ("pyproject.toml", "--extra", "demo"),  # the demo and everything below
    # The container: without the embedded PostgreSQL, and with what its owner could not add.
    "image": ("pyproject.toml", "--extra", "otel", "-c", "locks/run.txt"),
    "build": ("--group", "build", "-c", "locks/run.txt"),  # what makes a wheel of the project
    "dev": ("pyproject.toml", "--all-extras", "--group", "dev", "-c", "locks/run.txt", "-c", "locks/build.txt"),
}


def main(options: list[str]) -> None:
    uv = find_uv()
    for name, source in LOCKS.items():
        file = path(name)
        subprocess.run([uv, *COMPILE, *SILENT, *options, *source, "-o", str(file)], check=True, cwd=ROOT)
        file.write_text(f"{note()}\n{file.read_text()}")


def path(name: str) -> Path:
    return ROOT / "locks" / f"{name}.txt"


def note() -> str:
    """The first line of a lock file that matches pyproject.toml."""
    return f"# requirements: sha256 {fingerprint(tomllib.loads((ROOT / 'pyproject.toml').read_text()))}"


def fingerprint(pyproject: dict[str, Any]) -> str:
    """The hash of everything in pyproject.toml that a lock file depends on."""
    project = pyproject["project"]
    requirements = [project[name] for name in ("requires-python", "dependencies", "optional-dependencies")]
    return hashlib.sha256(json.dumps([*requirements, pyproject["dependency-groups"]]).encode()).hexdigest()


def find_uv() -> str:
    """The installed uv, or one that is installed from the package index into a separate directory."""
    if found := shutil.which("uv"):
        return found
    if not (UV / "bin" / "uv").exists():
        venv.create(UV, with_pip=True, clear=True)
        subprocess.run([UV / "bin" / "python", "-m", "pip", "--quiet", "install", "uv"], check=True)
    return str(UV / "bin" / "uv")


if __name__ == "__main__":
    main(sys.argv[1:])
