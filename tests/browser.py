"""Looks at the dashboard with a real Chromium: `python -m tests.browser [pytest arguments]`.

The one that is installed is used; on Debian root may have it installed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = "tests/browsed"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def install_chromium() -> None:
    if shutil.which("apt-get") is None or os.getuid() != 0:
        sys.exit("Chromium can be installed here on Debian, by root; install it somewhere in PATH.")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(INSTALL, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def main(*arguments: str) -> int:
    if find_chromium() is None:
        install_chromium()
    command = [sys.executable, "-m", "pytest", *(arguments or ["-q", TESTS])]
    environment = {**os.environ, "TEST_CHROMIUM": str(find_chromium())}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
